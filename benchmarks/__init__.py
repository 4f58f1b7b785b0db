"""Programs that print a table, each figure beside a peer measured in the same run. Run by `make bench`."""
