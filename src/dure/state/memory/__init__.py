"""The memory of this process: what was written of it, whose it is, how it is kept, and where CPython keeps things.

Its modules:

    written    which large runs of memory were written since they were hashed
    mappings   what is mapped where, and what nobody else can write
    layout     where CPython keeps what containers hold
    contents   which memory tells what many objects hold
    forked     the memory of one moment, kept by a forked process
    collector  pauses the garbage collector
    regions    memory that restored buffers live in
    reading    reads a snapshot's bytes into such memory
"""
