"""One file or folder per outside thing; each implements a port of `dure.ports` and is composed in `dure.main`."""
