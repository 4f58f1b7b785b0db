"""Kueue's admission, exactly: quota arithmetic, flavor assignment, preemption and the scheduling cycle, without
input or output.
"""
