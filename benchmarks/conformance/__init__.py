"""Runs the cases of Kueue's own test tables against the engine in `dure.core.queueing.kueue`."""
