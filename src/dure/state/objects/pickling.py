"""The pickler of one group: functions by code, classes by token, modules by name, all else as `reducers` says.

It stands on cloudpickle, whose reducers carry the odd types (properties, cells of classes, enums, loggers), and
replaces what cloudpickle does to functions (a private copy of their globals), files (their text) and views (copies).
The one trap: pickle asks `reducer_override` for everything but exact built-in containers, so nothing here sees a dict.
"""

from __future__ import annotations

import ctypes
import dis
import enum
import functools
import gc
import sys
import types
import typing
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any

import cloudpickle

from dure.state.cut.parts import Cutter
from dure.state.cut.pieces import Part, StandIn
from dure.state.memory import written
from dure.state.objects import (
    arrays,
    attributes,
    classes,
    deep,
    enums,
    instances,
    labels,
    marks,
    modules,
    nans,
    owned,
    rebuild,
    reducers,
    standard,
    ties,
)
from dure.state.objects.lenders import Lenders
from dure.state.objects.refusals import RefusedError, is_too_deep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    # says how one object is made again, in the form that `__reduce__` returns; NotImplemented leaves it to pickle
    Reducer = Callable[["GroupPickler", Any], Any]

INLINE_BUFFER_BYTES = 64 * 1024  # smaller buffers stay in the stream: a blob each would cost more than it saves
_SUBMODULES = 64


class _OneField(ctypes.Structure):
    _fields_ = (("field", ctypes.c_int),)


_C_FIELD = type(_OneField.field)
_C_KINDS = (ctypes.Structure, ctypes.Union, ctypes.Array, ctypes.c_int)
_OURS = {"dure", "cloudpickle", "__main__"}
_FRAME = b"\x95"  # of pickle, before eight bytes that tell how many follow


class Shared:
    """What the picklers of one capture have in common, such as the namespace and the reducers chosen so far by type."""

    def __init__(self, namespace: dict[str, Any], cutter: Cutter | None = None) -> None:
        self.namespace = namespace
        self.cutter = cutter or Cutter()
        self.cutter.token_of = self.token
        self.reducers: dict[type, Reducer | None] = {}
        self.plains: dict[Any, Any] = {}  # what stands for the memory of arrays of subclasses and of torch's storages
        self.lenders = Lenders(namespace)
        self.reads: set[str] = set()  # globals that the notebook functions met so far may look up
        self._watched: list[written.Watched] = []  # once somebody asked
        self._holders: dict[int, tuple[dict[str, Any], Any]] = {}  # by id of namespaces: these, and what holds each
        self.foreign: dict[int, dict[str, Any]] = {}  # stand for namespaces of which functions read a part
        self.ties = ties.Ties()
        self.of_process = standard.all_of_process()  # what stands for what there is one of in a process, by ids of that
        self.met_of_process: dict[int, standard.OfProcess] = {}  # the same, once one of them was met
        self.modules = modules.Modules(namespace)
        self.placed: dict[int, owned.Placed] = {}  # values of variables that modules have, too
        self.by_token: dict[int, owned.Token] = {}  # by ids of what modules have: what stands for it in other values
        self.tokens: dict[int, str] = {}  # tokens of classes and labels that stand in for others (see changes)
        self.inline: set[int] = set()  # ids of labels that cannot be saved apart

    def watching(self) -> written.Watched:
        """Return the watch over this process's memory, and what it may watch."""
        if not self._watched:
            self._watched.append(written.current())
        return self._watched[0]

    def holder_of(self, names: dict[str, Any]) -> Any:
        """Return what a person holds of a namespace that is not the notebook's: a module made by hand, or the
        dictionary; None where functions alone have it.
        """
        known = self._holders.get(id(names))
        if known is None:
            known = self._holders[id(names)] = (names, _holder_of(names))
        return known[1]

    def stand_for(self, tokens: Mapping[int, str]) -> None:
        """Have values with these ids, which modules have, referred to by their tokens."""
        self.by_token = {key: owned.Token(token) for key, token in tokens.items()}

    def token(self, one: Any) -> str:
        """Return the token of a class or of labels."""
        told = self.by_token[id(one)].token if id(one) in self.by_token else self.tokens.get(id(one))
        return told or (classes.token_of(one) if issubclass(type(one), type) else labels.token_of(one))


class Stream:
    """What a pickler writes to. `long` tells whether a text or bytes of 64 KiB or more are in it: pickle writes those
    by themselves, and all else in frames that tell their length.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.long = False

    def write(self, piece: Any) -> int:
        """Take what the pickler gives, which may use the memory again."""
        data = bytes(piece)
        self._pieces.append(data)
        if len(data) >= INLINE_BUFFER_BYTES:
            head = 2 if len(self._pieces) == 1 else 0  # the protocol's number
            told = int.from_bytes(data[head + 1 : head + 9], "little") if data[head : head + 1] == _FRAME else 0
            self.long = self.long or told + head + 9 != len(data)
        return len(data)

    def getvalue(self) -> bytes:
        """Return all that was written."""
        if len(self._pieces) > 1:
            self._pieces = [b"".join(self._pieces)]
        return self._pieces[0] if self._pieces else b""


class GroupPickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles one group. `own` has the ids and slots of the classes and labels that this group defines; others become
    references.
    """

    def __init__(self, shared: Shared, own: Mapping[int, int]) -> None:
        self.file = Stream()
        self.buffers: list[PickleBuffer] = []
        # not a method of this pickler, which would then hold itself until the garbage collector comes by
        super().__init__(self.file, protocol=5, buffer_callback=functools.partial(_keep_buffer, self.buffers))
        self.shared = shared
        self.own = own
        self.parts: list[Part] = []
        self._numbers: dict[int, int] = {}  # of the parts, by their ids
        self.stand_ins: list[StandIn] = []  # that it met
        self.needs: dict[str, Any] = {}
        self.labels: list[Any] = []  # that are not saved apart
        self.modules: set[str] = set()
        self.referenced: set[int] = set()  # reached by name only
        self.frozen: set[int] = set()  # inside what never changes
        self.thawed: set[int] = set()  # of these, what is also elsewhere, where it matters who shares it
        # objects with a way of their own to be pickled, and how they were; None where nobody will ask
        self.noted: list[tuple[Any, Any]] | None = []
        self.last: Any = None
        self.met: object = None  # see dure.state.objects.reach
        self.put_off: deep.Attributes | None = None
        self._cells: set[int] = set()

    def reducer_override(self, obj: Any) -> Any:
        """Return how to make `obj` again, NotImplemented where pickle knows, or raise RefusedError."""
        self.last = obj
        kind = type(obj)
        try:
            reducer = self.shared.reducers[kind]
        except KeyError:
            reducer = self.shared.reducers[kind] = reducers.reducer_for(kind)
        made = NotImplemented if reducer is None else reducer(self, obj)
        return made if self.put_off is None else self.put_off.without(self, obj, made)

    def number_of(self, part: Part) -> int:
        """Take a part of the group, if it is new, and return its number."""
        if id(part) in self._numbers:
            return self._numbers[id(part)]
        self._numbers[id(part)] = len(self.parts)
        self.parts.append(part)
        found = {token: named() for token, named in part.classes.items()}
        self.needs.update((token, cls) for token, cls in found.items() if cls is not None)
        return len(self.parts) - 1

    def reduce_stand_in(self, it: StandIn) -> Any:
        """Return the reduction of what it stands for, which is made of the numbers of its parts."""
        self.stand_ins.append(it)
        return it.reduced(self.number_of)

    def by_name(self, obj: Any, module: str | None) -> Any:
        """Note that `obj` is reached through a module and let pickle save its name."""
        self.referenced.add(id(obj))
        top = (module or "builtins").partition(".")[0]
        if top not in sys.stdlib_module_names and top not in _OURS:
            self.modules.add(top)
        return NotImplemented

    def reduce_class(self, cls: type) -> Any:
        """Return a class by name, by token, or, in its own group, by value."""
        if classes.by_reference(cls):
            return self.by_name(cls, cls.__module__)
        if cls.__module__ == "builtins":
            self.referenced.add(id(cls))
            return super().reducer_override(cls)
        if cls.__module__ == "_ctypes" and issubclass(cls, type):  # the types of C types have no names of their own
            return type, (next(kind for kind in _C_KINDS if type(kind) is cls),)
        if issubclass(cls, ctypes.Array):
            return rebuild.ctypes_array, (cls._type_, cls._length_)
        if type(cls).__module__.partition(".")[0] == "msgspec":
            raise RefusedError(cls, "a msgspec Struct of the notebook: define it in a module and import it")
        token = self.shared.token(cls)
        if id(cls) not in self.own:
            self.referenced.add(id(cls))
            self.needs[token] = cls
            return marks.class_ref, (token,)
        return self._class_by_value(cls, token)

    def _class_by_value(self, cls: type, token: str) -> Any:
        """Return a class as cloudpickle does, with what that leaves out."""
        make, arguments, state, _, _, setter = super().reducer_override(cls)
        state[0].pop("__slotnames__", None)  # pickling an instance puts it there
        if issubclass(cls, ctypes.Structure | ctypes.Union):  # whose fields _fields_ makes anew
            for name in [name for name, value in state[0].items() if type(value) is _C_FIELD]:
                del state[0][name]
        state = (classes.in_order(cls, state[0]), *state[1:])
        make, arguments, state, setter = enums.corrected(cls, make, arguments, state, setter)
        named_tuple = typing.NamedTuple in cls.__dict__.get("__orig_bases__", ())
        if "__slots__" in cls.__dict__ and not issubclass(cls, enum.Enum) and not named_tuple:
            # cloudpickle leaves the slots out, which would give every instance a __dict__ instead
            make_kwargs = {**arguments[3], "__slots__": cls.__dict__["__slots__"]}
            arguments = (*arguments[:3], make_kwargs, *arguments[4:])
            for name, member in cls.__dict__.items():
                if isinstance(member, types.MemberDescriptorType):
                    state[0].pop(name, None)
        # the place of cloudpickle's own tracker, which would hand out and overwrite live classes
        arguments = (*arguments[:-2], None, arguments[-1])
        shell = (token, classes.shape_of(cls), cls.__qualname__, make, arguments)
        return marks.class_shell, shell, (setter, state), None, None, marks.class_state

    def reduce_function(self, function: types.FunctionType) -> Any:
        """Return a function as its code on a namespace: the live one, its module's, or the part of another it reads."""
        if classes.by_reference(function):
            return self.by_name(function, function.__module__)
        owner = self._owner(function)
        if owner is not None:
            return rebuild.attribute, owner
        where, foreign = self._globals_of(function)
        cells = function.__closure__ or ()
        self._cells.update(id(cell) for cell in cells)
        contents = []
        for cell in cells:
            try:
                contents.append((cell, cell.cell_contents))
            except ValueError:
                continue
        slots: dict[str, Any] = {
            "__qualname__": function.__qualname__,
            "__module__": function.__module__,
            "__doc__": function.__doc__,
            "__defaults__": function.__defaults__,
            "__kwdefaults__": function.__kwdefaults__,
            "__annotations__": function.__annotations__,
            "__type_params__": getattr(function, "__type_params__", ()),  # from Python 3.12 on
        }
        slots = {name: value for name, value in slots.items() if value}
        if function.__doc__ is None and isinstance(next(iter(function.__code__.co_consts), None), str):
            slots["__doc__"] = None  # which is in the code, too
        if foreign is not None:
            slots["globals"] = foreign
        state = (function.__dict__, slots, contents)
        arguments = (*classes.code_of(function), function.__name__, where, cells or None)
        return marks.function, arguments, state, None, None, rebuild.set_function_state

    def _owner(self, function: types.FunctionType) -> tuple[Any, str] | None:
        """Return the notebook class that holds this function, where another group defines it."""
        head, _, path = function.__qualname__.partition(".")
        cls = self.shared.namespace.get(head)
        if not path or "<locals>" in path or not isinstance(cls, type) or id(cls) in self.own:
            return None
        found = cls.__dict__.get(path)
        return (cls, path) if found is function and not classes.by_reference(cls) else None

    def _globals_of(self, function: types.FunctionType) -> tuple[Any, dict[str, Any] | None]:
        """Return where the function's globals are: None for the live namespace, the name of a module, or a dict."""
        found = function.__globals__
        name = found.get("__name__")
        reads = code_globals(function.__code__)
        if found is self.shared.namespace or (name == "__main__" and self._like_live(found, reads)):
            self.shared.reads |= reads
            return None, None
        module = sys.modules.get(name) if isinstance(name, str) else None
        if module is not None and vars(module) is found:
            self.by_name(module, name)
            return name, None
        held = self.shared.holder_of(found)
        if held is not None:
            return held, None
        own = self.shared.foreign.setdefault(id(found), {"__name__": name})
        return own, _those_of(found, reads)

    def _like_live(self, found: dict[str, Any], reads: frozenset[str]) -> bool:
        """Tell whether a copy of the notebook's namespace says the same as that itself; attrs adds names to its own."""
        live = self.shared.namespace
        return all(live.get(name) is found[name] for name in reads if name in found)

    def reduce_cell(self, cell: types.CellType) -> Any:
        """Return a closure cell; a function fills its own cells, after it is known to the pickle."""
        if id(cell) in self._cells:
            return rebuild.empty_cell, ()
        try:
            return rebuild.empty_cell, (), (cell.cell_contents,), None, None, rebuild.set_cell
        except ValueError:
            return rebuild.empty_cell, ()

    def reduce_module(self, module: types.ModuleType) -> Any:
        """Return a module by its name, with the submodules that were imported beside it."""
        name = module.__name__
        if name == "__main__":
            raise RefusedError(module, "the notebook's own module")
        if sys.modules.get(name) is not module:
            return _made_by_hand(self, module)
        self.by_name(module, name)
        prefix = name + "."
        below = [sub for sub in list(sys.modules) if sub.startswith(prefix) and "._" not in sub and sub.count(".") <= 2]
        return rebuild.module, (name, tuple(sorted(below)) if len(below) <= _SUBMODULES else ())


def _holder_of(names: dict[str, Any]) -> Any:
    # no function inside this one or its callers may name the dictionary: its cell would be taken for a holder
    held = None
    for each in gc.get_referrers(names):
        if isinstance(each, types.ModuleType) and vars(each) is names:
            return each
        # what holds names without saving any is found in no memo
        if isinstance(each, dict | list | tuple | set | types.CellType):
            held = names
    return held


def _those_of(names: dict[str, Any], chosen: frozenset[str]) -> dict[str, Any]:
    return {name: names[name] for name in chosen if name in names}


def _made_by_hand(pickler: GroupPickler, module: types.ModuleType) -> Any:
    names = {name: value for name, value in vars(module).items() if name != "__builtins__"}
    if sys.getrefcount(vars(module)) > instances.ALONE and instances.is_held(module, pickler.shared.namespace):
        raise RefusedError(module, attributes.HELD)
    return type(module), (module.__name__,), names, None, None, arrays.set_attributes


class CuttingPickler(GroupPickler):
    """Pickles what is in parts by what stands in for it; it is asked for every object."""

    def __init__(self, shared: Shared, own: Mapping[int, int]) -> None:
        super().__init__(shared, own)
        self._stand_ins: dict[int, Any] = {**shared.cutter.stand_ins, **shared.met_of_process, **shared.by_token}
        for key in own:
            self._stand_ins.pop(key, None)

    def persistent_id(self, obj: Any) -> Any:
        """Return what stands in for a container, which a load takes for that itself, or the token of a NaN."""
        if type(obj) is float:
            return nans.token_of(obj) if obj != obj else None  # noqa: PLR0124 - as NaN does
        found = self._stand_ins.get(id(obj))
        if type(found) is owned.Token:
            self.needs[found.token] = obj
        return found


def pickler_for(shared: Shared, own: Mapping[int, int]) -> GroupPickler:
    """Return a new pickler of one group."""
    return (CuttingPickler if shared.cutter.stand_ins or shared.met_of_process or shared.by_token else GroupPickler)(
        shared, own
    )


def dumped(pickler: GroupPickler, objects: tuple[Any, ...]) -> GroupPickler:
    """Pickle some objects and return the pickler that did it: another one where a NaN is among them, or where they are
    nested too deeply for one after the other.
    """
    try:
        return _dumped(pickler, objects)
    except Exception as error:
        if not is_too_deep(error):
            raise
    again = type(pickler)(pickler.shared, pickler.own)
    again.put_off = deep.Attributes()
    again.noted = None if pickler.noted is None else []
    return _dumped(again, deep.Whole(objects))


def _dumped(pickler: GroupPickler, told: Any) -> GroupPickler:
    pickler.dump(told)
    if isinstance(pickler, CuttingPickler) or not nans.inside(pickler.file.getvalue()):
        return pickler
    asked = CuttingPickler(pickler.shared, pickler.own)
    asked.put_off = pickler.put_off and deep.Attributes()
    asked.noted = None if pickler.noted is None else []
    asked.dump(told)
    return asked


def _keep_buffer(buffers: list[PickleBuffer], buffer: PickleBuffer) -> bool:
    if buffer.raw().nbytes < INLINE_BUFFER_BYTES:
        return True
    buffers.append(buffer)
    return False


@functools.lru_cache(maxsize=4096)
def code_globals(code: types.CodeType) -> frozenset[str]:
    """Return the names that code and the code inside it look up as globals."""
    found = {
        str(instruction.argval)
        for instruction in dis.get_instructions(code)
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
    }
    for item in code.co_consts:
        if isinstance(item, types.CodeType):
            found |= code_globals(item)
    return frozenset(found)
