"""Runs jobs on the node: a fork server per environment, a runner per attempt, and the user's process.

Only the runner writes an attempt's folder while it lives; its files are the truth, sockets and datagrams are hints.
The trap: everything here runs with the person's own code beside it, so nothing it says may be trusted by the platform.
"""
