"""Load the groups of a snapshot: bytes into objects, large memory mapped, with the notebook's classes and functions.

The one trap: a notebook class that lives here already must not be rewritten by loading, since the load may be thrown
away; its new content waits in `Loader.pending` for the commit.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import pickle
import pkgutil
import sys
import threading
import types
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dure.state.cut import pieces, plain, remembered
from dure.state.identity import differing
from dure.state.memory import collector
from dure.state.memory.reading import Reader
from dure.state.objects import class_updates, classes, instances, labels, marks, nans, owned, patient, rebuild
from dure.state.store.blobs import BlobError, Blobs

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping

    from dure.state.manifest import Group, Snapshot

_GENTLE_BYTES = 1024 * 1024


@dataclass(slots=True)
class _Loading:
    """What loading one group has come to on its thread, until it is known to succeed."""

    steps: list[Callable[[], None]] = field(default_factory=list)
    codes: list[types.CodeType] = field(default_factory=list)
    patient: bool = False
    branches: dict[int, list[Any]] = field(default_factory=dict)  # what was in each part of some, by its number


class Loader:
    """Loads groups by number, each once; classes that a group needs are loaded with it. Any thread may load."""

    def __init__(
        self,
        snapshot: Snapshot,
        blobs: Blobs,
        namespace: dict[str, Any],
        *,
        fresh: bool = False,
        verify: bool = True,
        verify_bytes: int | None = None,
        follow: bool | None = None,
    ) -> None:
        self.snapshot = snapshot
        self.reader = Reader(snapshot, blobs, verify=verify, verify_bytes=verify_bytes)
        self.namespace = namespace
        self.fresh = fresh  # make every class anew and leave the living ones alone
        self.pending: list[Callable[[], None]] = []
        self.follow = follow  # whether living labels are taken under whatever name; None where none are taken
        self.renamed: dict[str, tuple[Any, Any]] = {}  # living labels with those that were saved, by token
        self.made: dict[str, Any] = {}  # classes and labels by token
        self._new: set[str] = set()  # tokens of the classes that were made here
        self._living: dict[int, str] = {}  # classes of this process by id, with the shape that was saved
        self._loaded: dict[int, tuple[Any, ...]] = {}
        self._errors: dict[int, Exception] = {}
        self._done: set[int] = set()  # what nobody asks for any more
        # one lock a group: groups never need each other in a circle (see `grouping`)
        self._locks: dict[int, threading.RLock] = {}
        self._here = threading.local()
        self.placed: dict[int, dict[int, owned.Placed]] = {}  # by group and slot: what modules have, too
        self.taken: dict[int, tuple[owned.Placed, Any]] = {}  # of what modules have, by id
        self.told: dict[str, str] = {}  # of variables that modules have
        self.codes: dict[int, list[types.CodeType]] = {}  # of the functions that a group made
        self.lends = True
        self.lent: dict[str, Any] = {}  # names that are in the namespace until all is loaded
        self._defines = {token: index for index, group in enumerate(snapshot.groups) for token in group.classes}

    def load(self, index: int) -> tuple[Any, ...]:
        """Return the group's objects, by slot. What failed for the store's sake, or a name's, is tried again."""
        with self._locks.setdefault(index, threading.RLock()):
            if index in self._loaded or index in self._done:
                return self._loaded.get(index, ())
            error = self._errors.get(index)
            if error is not None and not isinstance(error, BlobError | NameError):
                raise error
            self.reader.read_bytes[index] = 0
            try:
                found = self._load_lending(index)
            except BaseException as error:
                told = isinstance(error, Exception)
                self._errors[index] = error if told else RuntimeError(f"{type(error).__name__}: {error}")
                raise
            self._loaded[index] = found
            return found

    def _load_lending(self, index: int) -> tuple[Any, ...]:
        """Load a group; a name that its code (`__setstate__` and the like) looks up is put into the namespace first."""
        while True:
            try:
                return self._load(index, self.snapshot.groups[index])
            except NameError as error:
                name = str(error.name)
                variable = self.snapshot.variables.get(name)
                if not self.lends or variable is None or name in self.namespace or variable.group == index:
                    raise
                slots = self.load(variable.group)
                self.namespace[name] = self.lent[name] = slots[self.snapshot.groups[variable.group].names[name]]

    def take_back(self) -> None:
        """Take what was lent out of the namespace; from now on nothing is lent."""
        self.lends = False
        for name, value in self.lent.items():
            if self.namespace.get(name) is value:
                del self.namespace[name]
        self.lent.clear()

    def release(self, keep: Container[int]) -> None:
        """Let go of the objects that were loaded, but of these groups; classes stay known."""
        self._loaded = {index: found for index, found in self._loaded.items() if index in keep}

    def loaded(self, index: int) -> tuple[Any, ...]:
        """Return the objects of a group that `load` has ended for; raises what loading it raised."""
        found = self._loaded.get(index)
        if found is None:
            raise self._errors[index]
        return found

    def settle(self, values: dict[str, Any]) -> None:
        """Replace the values of variables that modules have, too, by what these are from now on: the module's own
        object with the saved content, where that can be. So it is with such objects inside other values.
        """
        for index, found in list(self.placed.items()):
            group = self.snapshot.groups[index]
            for slot, it in sorted(found.items(), key=lambda one: len(one[1].places[0][1])):  # what holds others first
                kept = self._loaded.get(index, (it.value,) * (slot + 1))[slot]
                own = [name for name, at in group.names.items() if at == slot]
                names = [name for name in own if any(values.get(name) is one for one in (kept, it.value))]
                tokens = [token for token, at in group.classes.items() if at == slot]
                users = {name for token in tokens for name in self.snapshot.needing(token) if name in values}
                if names or users:
                    del found[slot]
                    value, told = owned.settled(it, self.namespace, self.taken)
                    values.update(dict.fromkeys(names, value))
                    self.told.update(dict.fromkeys({*names, *users}, told) if told else {})

    def as_saved(self, index: int, places: dict[int, owned.Placed]) -> tuple[Any, ...]:
        """Return the objects of a group with where the living ones are in modules, by slot."""
        saved = self.placed.get(index, {})
        found = list(self.load(index))
        for slot, it in places.items():
            was = saved.get(slot, it)
            found[slot] = owned.Placed(it.places, it.digests, found[slot], was.alone, was.nested)
        return tuple(found)

    def let_go(self, groups: Iterable[int]) -> None:
        """Let go of these groups' objects; whoever was about to load them, too, need not."""
        for index in groups:
            self._done.add(index)
            self._loaded.pop(index, None)

    def why(self, index: int, error: Exception) -> str:
        """Return why a group did not load, as a sentence with what to do."""
        reason = _reason(error)
        if skew := differing(self.snapshot.fingerprint, self.snapshot.groups[index].modules):
            reason += f" ({skew}: an environment with that version restores it)"
        return reason

    def _load(self, index: int, group: Group) -> tuple[Any, ...]:
        outer = getattr(self._here, "loading", None)
        loading = self._here.loading = _Loading()
        try:
            stream = self.reader.read(group.stream, index)
            buffers = [self.reader.memory(buffer, index) for buffer in group.buffers]
            # what is loaded beside the person's own code must not hold the collector for as long as that takes
            with collector.paused() if self.reader.turn is None else contextlib.nullcontext():
                found = self._unpickled(index, group, stream, buffers)
        except BaseException:
            self._unmake(group)
            raise
        finally:
            self._here.loading = outer
        if not isinstance(found, tuple) or len(found) <= max(
            [*group.names.values(), *group.classes.values()], default=-1
        ):
            raise ValueError("the saved group does not hold what its manifest says")
        self.placed[index] = {slot: each for slot, each in enumerate(found) if type(each) is owned.Placed}
        found = tuple(self._placed_value(each) if type(each) is owned.Placed else each for each in found)
        for token, slot in group.classes.items():
            self.made.setdefault(token, found[slot])
        self.pending += loading.steps
        self.codes[index] = loading.codes
        return found

    def _placed_value(self, it: owned.Placed) -> Any:
        return it.value if self.fresh else owned.of_module(it, self.namespace, self.taken)

    def _unpickled(self, index: int, group: Group, stream: Any, buffers: list[Any]) -> Any:
        unpickler = _Unpickler(self, index, stream, buffers)
        try:
            return unpickler.load()
        except Exception as error:
            put_off = isinstance(error, patient.UnsettledError)
            if not put_off and not patient.is_for(error):
                raise
        self._unmake(group)
        self._here.loading.steps.clear()
        self._here.loading.branches.clear()
        self._here.loading.patient = True
        find = unpickler.find_class
        return patient.Patient(io.BytesIO(stream), buffers=buffers, find_class=find, put_off=put_off).load()

    def _unmake(self, group: Group) -> None:
        """Forget the group's classes: a class that was made and not filled is nobody's class."""
        for token in group.classes:
            if (made := self.made.pop(token, None)) is not None and token in self._new:
                classes.forget(token, made)

    # --- what the marks in a stream call

    def class_ref(self, token: str) -> Any:
        """Return a notebook class, or labels, that another group defines."""
        if token not in self.made:
            index = self._defines.get(token)
            living = classes.known(token)
            if index is not None and not (self.fresh and living is not None):
                self.load(index)
            elif living is not None:
                self.made[token] = living
            else:
                raise LookupError("a class that it is an instance of is not in the snapshot")
        return self.made[token]

    def class_shell(self, token: str, shape: str, name: str, make: Any, arguments: tuple[Any, ...]) -> type:
        """Return this process's class for the token, one of equal definition, or a new one that `class_state` fills."""
        if not self.fresh:
            living = classes.known(token)
            if living is None:
                living = self._same_definition(name, shape)
            if living is not None:
                self.made[token] = living
                self._living[id(living)] = shape
                return living
        flat = [item for each in arguments for item in (each if isinstance(each, tuple) else (each,))]
        with class_updates.unobserved([item for item in flat if isinstance(item, type)]):
            found: type = make(*arguments)
        vars(type)["__qualname__"].__set__(found, name)
        self.made[token] = found
        if not self.fresh:
            self._new.add(token)
            classes.remember(token, found)
        return found

    def labels(self, index: int, slot: int, make: Any, arguments: tuple[Any, ...]) -> Any:
        """Return labels of pandas: this process's own for the token, where they are the same, or new ones."""
        group = self.snapshot.groups[index]
        token = next((token for token, at in group.classes.items() if at == slot), "")
        found = make(*arguments)
        living = None if self.follow is None else labels.living(token)
        if living is not None and labels.same(living, found):
            named = labels.same_given(labels.given(living), labels.given(found))
            if named or self.follow:
                if not named:
                    self.renamed[token] = living, found
                found = living
        if not self.fresh and found is not living:
            labels.remember(token, found)
        self.made[token] = found
        return found

    def _same_definition(self, name: str, shape: str) -> type | None:
        found = self.namespace.get(name)
        if isinstance(found, type) and shape and not classes.by_reference(found) and classes.shape_of(found) == shape:
            return found
        return None

    def class_state(self, cls: type, state: tuple[Any, Any]) -> None:
        """Fill a new class now; a class that lives here already changes only at commit, and only where it differs."""
        setter, content = state
        shape = self._living.get(id(cls))
        if shape is not None:
            self._here.loading.steps.append(lambda: class_updates.bring_up_to_date(cls, content[0]))
        else:
            setter(cls, content)
            if content[0].get("__hash__") is not None:
                instances.hash_again(content[0], self._is_elsewhere)

    def settled(self, target: Any, state: tuple[Any, Callable[[Any, Any], None] | None]) -> None:
        """Give an object its state; UnsettledError where that changes its hash, since it may be in a set by now."""
        found, setter = state
        patiently = self._here.loading.patient
        before = None if patiently else hash(target)
        (setter or rebuild.set_as_pickle)(target, found)
        if not patiently and hash(target) != before:
            raise patient.UnsettledError

    def _is_elsewhere(self, value: Any) -> bool:
        """Tell whether a value is no part of what is loaded: a module, the namespace, a class that lives here."""
        if isinstance(value, type):
            return id(value) in self._living or all(value is not cls for cls in self.made.values())
        return value is self.namespace or isinstance(value, types.ModuleType)

    def function(
        self, tag: str, code: bytes, name: str, where: Any, cells: tuple[Any, ...] | None
    ) -> types.FunctionType:
        """Return a function on the live namespace, on its module's, or on the dict that travelled with it."""
        if where is None:
            scope = self.namespace
        elif isinstance(where, str):
            __import__(where)
            scope = vars(sys.modules[where])
        elif isinstance(where, types.ModuleType):  # made by hand
            scope = vars(where)
        else:
            scope = where
        made = rebuild.code_object(tag, code)
        self._here.loading.codes.append(made)
        return types.FunctionType(made, scope, name, None, cells)

    def placed_in(self, *told: Any) -> owned.Placed:
        """Return a variable's value with where modules have it."""
        return owned.Placed(*told)

    def joined(self, index: int, kind: str, segments: list[Any]) -> Any:
        """Return a container of elements that are given, or in a group's part of which the number is."""
        made: Any = {"dict": dict, "set": set}.get(kind, list)()
        lengths = []
        for segment in segments:
            found = segment
            if isinstance(segment, int):
                found = self.elements(index, segment)
            lengths.append(len(found[0]))
            if kind == "dict":
                made.update(zip(*found, strict=True))
            elif kind == "set":
                made.update(found[0])
            else:
                made += found[0]
        made = tuple(made) if kind == "tuple" else made
        if kind != "set":  # where an element is in a set depends on the process
            remembered.register(made, lengths)
        return made

    def branch(self, index: int, number: int, at: int, outside: dict[str, Any] | None, *_: object) -> Any:
        """Return what was cut off a tree. Parts of it refer to what is `outside`, by tokens."""
        known = self._here.loading.branches
        if number not in known:
            (known[number],) = self.elements(index, number, outside)
            remembered.register_branches(known[number])
        return known[number][at]

    def elements(self, index: int, number: int, outside: Mapping[str, Any] | None = None) -> tuple[list[Any], ...]:
        """Return what is in one of a group's parts: of a list its items, of a dictionary its keys and its values."""
        if not 0 <= number < len(self.snapshot.groups[index].parts):
            raise ValueError("the saved group does not hold what its manifest says")
        run = self.snapshot.groups[index].parts[number]
        return pieces.loaded(_Unpickler(self, index, self.reader.read(run, index), [], outside))

    def live_namespace(self) -> dict[str, Any]:
        """Return the namespace itself."""
        return self.namespace


def run_all(steps: list[Callable[[], None]]) -> None:
    """Take every step off the list and do it."""
    while steps:
        steps.pop(0)()


class _Gently:
    """A stream that is read piece by piece in Python, so that a thread which loads it lets others run in between."""

    def __init__(self, stream: Any, turn: Callable[[], None]) -> None:
        self._stream = memoryview(stream)
        self._at = 0
        self._turn = turn

    def read(self, size_bytes: int) -> bytes:
        self._turn()
        begin = self._at
        self._at = begin + size_bytes
        return bytes(self._stream[begin : self._at])

    def readline(self) -> bytes:
        end = self._at
        while end < len(self._stream) and self._stream[end] != 10:
            end += 1
        return self.read(min(end + 1, len(self._stream)) - self._at)


class _Unpickler(pickle.Unpickler):
    def __init__(
        self,
        loader: Loader,
        group: int,
        stream: Any,
        buffers: list[Any],
        outside: Mapping[str, Any] | None = None,
    ) -> None:
        turn = loader.reader.turn
        if turn is not None and len(stream) > _GENTLE_BYTES:
            super().__init__(_Gently(stream, lambda: turn(group)), buffers=buffers)
        else:
            super().__init__(io.BytesIO(stream), buffers=buffers)
        self._loader = loader
        self._group = group
        self._outside = outside or {}

    def persistent_load(self, pid: Any) -> Any:
        # what stands in for a container was loaded as that
        if type(pid) is str:
            return self._outside[pid] if pid.startswith(plain.OUTSIDE) else nans.of_token(pid)
        return pid

    def find_class(self, module: str, name: str) -> Any:
        module = module_now(module)
        if module == marks.__name__ and name in ("branch", "joined", "labels"):
            return functools.partial(getattr(self._loader, name), self._group)
        if module == marks.__name__:
            return getattr(self._loader, _ASKED_AS.get(name, name))
        if module == "__main__":
            found = self._loader.namespace.get(name)
            if found is None:
                raise LookupError(f"{name} is not defined in the notebook")
            return found
        return super().find_class(module, name)


@functools.cache
def module_now(module: str) -> str:
    """Return where a module of ours lies that a pickle names: those of before November 2026 lay in one folder."""
    below, _, name = module.rpartition(".")
    name = _PART_OF.get(name, name)
    if below != "dure.state":
        return module
    moved = (
        f"{package.name}.{name}"
        for package in pkgutil.iter_modules(sys.modules["dure.state"].__path__, "dure.state.")
        if package.ispkg
    )
    return next((each for each in moved if importlib.util.find_spec(each)), module)


# by the names of modules that are no more
_PART_OF = {"belonging": "others", "exporters": "lenders", "unwilling": "others"}
_ASKED_AS = {"namespace": "live_namespace", "placed": "placed_in"}


def _reason(error: Exception) -> str:
    """Return why a group did not load, as a sentence with what to do where that is known."""
    if isinstance(error, ModuleNotFoundError):
        if "." in str(error.name) and importlib.util.find_spec(str(error.name).partition(".")[0]) is not None:
            return f"it needs the module {error.name}, which the package of that name here does not have"
        return f"it needs the package {error.name}, which is not installed here: add it to the environment"
    text = str(error).strip().splitlines()
    first = text[0] if text else ""
    if not all(isinstance(said, str | int) for said in error.args):  # objects, whose text no person reads
        return f"its package cannot load it here ({type(error).__name__})"
    if isinstance(error, BlobError | LookupError | RuntimeError) and first:
        return first
    return f"{type(error).__name__}: {first}"
