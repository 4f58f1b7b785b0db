"""How objects become pickles and pickles become the same objects again.

A pickler asks `reducers` once for each type for a reducer: a function that says, as `__reduce__` does, how an instance
is made again. The functions that it names are in saved snapshots by module and name, so none may be renamed.

    pickling       the pickler of one group; functions, classes and modules are reduced there
    reducers       which reducer there is for a type
    loading        loads groups: the unpickler, and what the marks stand for
    marks          names in a pickle that only a restore can answer, such as the namespace
    rebuild        what pickles call to make objects again
    refusals       what cannot be saved, why, and where inside a value it is
    children       what an object holds, and how a person writes the way there
    reach          which of the objects that a pickle reached may be shared

    instances      ordinary objects, which hold a dictionary of attributes
    attributes     the attributes of objects that have their own way of being pickled
    ties           what such a way would copy or leave out although another variable holds it, too
    containers     `defaultdict`, `Counter` and a person's subclasses of built-in containers
    classes        classes of the notebook: their tokens, and whether two have the same definition
    class_updates  brings a class that lives here already up to date
    enums          enumerations and typed dicts of the notebook
    typed          type parameters and aliases
    errors         exceptions with their causes
    codenames      file names of cells' code
    standard       what there is one of in a process: `sys.path`, loggers, `rcParams`
    owned          variables that are what a module has under a name: `from config import SETTINGS`
    modules        what imported modules have under names
    nans           NaN objects that stay themselves

    arrays         numpy's arrays, as memory and views of it
    elements       arrays of objects that repeat a few
    labels         labels of pandas, saved once for all frames that have them
    lenders        which objects lie on the same memory

    deep           saves what is nested too deeply for pickle
    patient        loads objects that are in sets before they can be hashed
    alike          whether two pickles say the same
"""
