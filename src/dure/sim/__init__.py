"""The production loop and core under a simulated clock, store and executor: for faults from a seed, and for traces."""
