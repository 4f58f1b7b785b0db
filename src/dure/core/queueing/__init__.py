"""Queueing: a snapshot of the platform and its jobs goes in, a plan comes out."""
