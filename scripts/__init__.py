"""One verb a file: what people run. The nouns they share are in `archive` and `server`."""
