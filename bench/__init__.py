"""This project beside its peers, on the same images in the same run: `make bench`."""
