"""Measurements of this project, alone and beside its peers. `make bench` is run.py."""
