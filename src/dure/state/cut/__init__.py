"""Large values of plain objects, cut into parts; a part whose memory was not written is not pickled again.

Its modules:

    parts       cuts what is large in the values of one capture, and finds what parts share: `Cutter`
    pieces      a part, what is cut into parts, and what stands in for that in a pickle
    large       where in a value large containers lie
    trees       where branches are cut off values that no large container holds
    columns     large arrays of texts or numbers as objects
    plain       pickles plain values, and tells which memory says what they hold
    weights     of how many objects a value is, about
    simple      classes whose instances are as plain as what they hold
    remembered  what is kept of parts from one capture to the next
    same        whether a part is as it was although its pages were written
    sharing     which parts share an object
    alone       whether any other thread may change objects while they are pickled
"""
