"""Decides: pure functions over frozen data. Standard library only; no I/O, no clock, no randomness."""
