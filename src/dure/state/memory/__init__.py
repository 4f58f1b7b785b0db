"""The memory of this process: what was written of it, what holds it, what is mapped, where CPython keeps things."""
