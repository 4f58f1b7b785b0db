"""Which variables share mutable objects, and so are pickled together as one group.

Each is pickled by itself first, and the pickler's memo says what it reached. Variables whose memos meet in a mutable
object are pickled again together; most share nothing and are pickled once. Where the pickles show something that they
had to know themselves (`_learned`), all begins again. The one trap: a memo holds ids, which mean something only while
the objects live, so every pickler is kept until all is known.
"""

from __future__ import annotations

import functools
import graphlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dure.state.cut.parts import Cutter
from dure.state.cut.pieces import Branches, Cut, Part
from dure.state.cut.plain import BIG_BYTES
from dure.state.manifest import OF_MODULE
from dure.state.memory import collector
from dure.state.objects import classes, labels, modules, owned, standard, ties
from dure.state.objects.marks import NamespaceMark
from dure.state.objects.pickling import GroupPickler, Shared, dumped, pickler_for
from dure.state.objects.reach import PLAIN, Kinds, Met, met
from dure.state.objects.refusals import explain
from dure.state.unions import Unions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pickle import PickleBuffer

_PENDING = "pending"  # a class whose token is asked for when it is pickled


@dataclass(slots=True)
class Pickled:
    """One pickle of some objects, not yet written anywhere."""

    stream: bytes
    buffers: list[PickleBuffer]
    needs: dict[str, Any]  # classes and labels that other groups define
    modules: set[str]
    pickler: GroupPickler | None  # until the groups are handed out
    parts: Sequence[Part] = ()  # by their number
    cuts: Sequence[Cut | Branches] = ()  # the containers that are cut into them
    held: frozenset[int] = frozenset()  # ids of the values in it

    def texts(self) -> bytes:
        """Return the texts and bytes objects in it, one after the other between zeros."""
        assert self.pickler is not None
        return met(self.pickler).texts()

    @property
    def size_bytes(self) -> int:
        """Bytes of stream, parts and buffers."""
        beside = sum(buffer.raw().nbytes for buffer in self.buffers)
        return len(self.stream) + beside + sum(part.size_bytes for part in self.parts)


@dataclass(slots=True)
class Node:
    """A distinct object that some names are bound to, or a class or labels that something needs."""

    value: Any
    key: int
    names: list[str] = field(default_factory=list)
    token: str | None = None
    pickled: Pickled | None = None
    reason: str | None = None
    beside_bytes: int = 0  # of labels that it needs

    @property
    def label(self) -> str:
        """What to call it in a sentence."""
        if self.names:
            return self.names[0]
        return f"class {self.value.__qualname__}" if issubclass(type(self.value), type) else self.token or ""


@dataclass(slots=True)
class Gathered:
    """A group, ready to be written: names, and classes and labels, by slot, one pickle of the tuple of slots."""

    names: dict[str, int]
    classes: dict[str, int]
    pickled: Pickled
    sizes: dict[str, int]
    types: dict[str, str]
    placed: dict[int, owned.Placed]  # by slot, of those that modules have


def gather(
    namespace: dict[str, Any],
    names: Iterable[str],
    cutter: Cutter,
    *,
    reads: set[str] | None = None,
    extras: Mapping[str, Any] | None = None,
    look: Callable[[Gathered, dict[str, Any]], None] | None = None,
) -> tuple[list[Gathered], dict[str, str]]:
    """Return the groups of the named variables, and for each that cannot be saved `path: reason`.

    `cutter` is one for the whole capture, which may call this several times. Into `reads` go the globals that notebook
    functions inside the values may look up. `extras` are saved with them, under names that no variable can have. `look`
    is given each group as long as its texts can be asked for, with the values of all names.
    """
    shared = Shared(namespace, cutter)
    shared.reads = set() if reads is None else reads
    with collector.paused():
        names = list(names)
        shared.placed = owned.placed(names, shared.modules)
        chosen = {**{name: namespace[name] for name in names}, **(extras or {})}
        rounds = []  # what one learns of some ids is for the next only as long as the objects live
        while True:
            nodes, unions, picklers = _pickled(shared, chosen, cutter)
            rounds.append((nodes, picklers))
            if _learned(nodes, unions, picklers, shared, cutter):
                shared.lenders.again()
                continue
            groups, unsaved = _joined(nodes, unions, shared, cutter)
            if not cutter.uncut_unsafe(shared.lenders.borrowed):
                break
            shared.lenders.again(owned=True)
        for group in groups:
            if look is not None:
                look(group, chosen)
            group.pickled.pickler = None
        return groups, unsaved


def _pickled(
    shared: Shared, chosen: dict[str, Any], cutter: Cutter
) -> tuple[dict[int, Node], Unions, list[GroupPickler]]:
    """Pickle each distinct value by itself, and what it needs; return all with who shares objects with whom."""
    nodes = _nodes(shared, chosen)
    kinds = Kinds()
    unions = Unions(shared)
    picklers: list[GroupPickler] = []
    queue = list(nodes.values())
    cutter.cut(node.value for node in queue)
    cutter.leave_in(*_of_modules(nodes, unions, shared))
    shared.of_process.update(standard.names_of_modules(node.value for node in queue))
    if not shared.of_process.keys().isdisjoint([*(id(node.value) for node in queue), *cutter.stand_ins]):
        shared.met_of_process = shared.of_process
    for one, other in cutter.sharing:
        unions.join(one, other)
    while queue:
        node = queue.pop(0)
        pickler = _pickle_alone(node, shared, cutter)
        picklers.append(pickler)
        for token, cls in pickler.needs.items():
            known = nodes.get(id(cls))
            if known is None:
                known = nodes[id(cls)] = Node(cls, id(cls), [], token)
                queue.append(known)
            known.token = token
            if node.token and issubclass(type(node.value), type) and issubclass(type(cls), type):
                # classes that define each other are one group, so that groups never need each other in a circle
                unions.join(node.key, id(cls))
        if node.reason is None and unions.reached(node.key, pickler, kinds, cutter):
            queue.insert(0, node)
    return nodes, unions, picklers


def _learned(
    nodes: dict[int, Node], unions: Unions, picklers: list[GroupPickler], shared: Shared, cutter: Cutter
) -> bool:
    """Tell whether these pickles showed something that they had to know themselves: then all is pickled again."""
    if unions.met_of_process and not shared.met_of_process:
        shared.met_of_process = shared.of_process
        return True
    return (
        _find_apart(nodes, unions, shared)
        or shared.lenders.missed(met(each).of_types for each in picklers)
        or (shared.ties.rounds > 0 and _lose_something(nodes, unions, shared, cutter))
    )


def _joined(
    nodes: dict[int, Node], unions: Unions, shared: Shared, cutter: Cutter
) -> tuple[list[Gathered], dict[str, str]]:
    """Return the groups, in each one pickle of what shares objects, and why other variables cannot be saved."""
    _spread_failures(nodes)
    _settle_apart(nodes, unions)
    members: dict[int, list[Node]] = {}
    for key, node in nodes.items():
        if node.pickled is not None and node.reason is None:
            members.setdefault(unions.root(key), []).append(node)
    groups = [group for each in members.values() if (group := _join(each, shared, cutter)) is not None]
    unsaved = {
        name: node.reason.replace(node.label, name, 1) for node in nodes.values() if node.reason for name in node.names
    }
    return groups, unsaved


def _of_modules(
    nodes: dict[int, Node], unions: Unions, shared: Shared
) -> tuple[Callable[[], set[int]], Callable[[set[int]], set[int]]]:
    """Return what tells the ids of what modules have, as far as is known, and of which of them they have it still."""

    def inside() -> set[int]:
        return {id(value) for *_, value in modules.nested(nodes, shared.namespace)}

    def still(keys: set[int]) -> set[int]:
        places = unions.modules
        return {*owned.found_at(keys & places.keys(), places, shared.namespace), *(keys & inside())}

    return lambda: {*unions.modules, *inside()}, still


def _nodes(shared: Shared, chosen: dict[str, Any]) -> dict[int, Node]:
    nodes: dict[int, Node] = {}
    namespace = shared.namespace
    apart = {id(index): index for index in labels.of_frames(chosen.values()) if id(index) not in shared.inline}
    for index in apart.values():
        shared.token(index)
    if not namespace.keys() <= chosen.keys():
        for index in labels.of_frames(namespace.values()):  # that somebody else has, too
            labels.token_of(index)
    mark = NamespaceMark()
    for name, found in chosen.items():
        value: Any = mark if found is namespace else found
        # equal small values are often one object; they are no aliases
        plain = type(value) in PLAIN or (type(value) in (str, bytes) and len(value) < BIG_BYTES)
        key = -1 - len(nodes) if plain else id(value)
        node = nodes.setdefault(key, Node(value, key))
        node.names.append(name)
        if (
            (issubclass(type(value), type) and not classes.by_reference(value) and value.__module__ != "builtins")
            or key in apart
            or key in shared.by_token
        ):
            node.token = _PENDING
    return nodes


def _find_apart(nodes: dict[int, Node], unions: Unions, shared: Shared) -> bool:
    """Tell whether all has to be pickled again: what modules have is inside something else, labels are in several
    groups, or what was to be apart cannot be.
    """
    failed = {node.key for node in nodes.values() if node.reason and node.token and _is_apart(node)}
    shared.inline |= failed
    known = shared.by_token.keys() | shared.inline
    keys = unions.of_modules - known - shared.of_process.keys()
    wanted = owned.found_at(keys, unions.modules, shared.namespace) if keys else {}
    known = {*nodes, *known, *wanted}
    inside = {key: it for key, it in owned.inside(unions, known, shared.namespace).items() if key not in known}
    before = shared.by_token.keys()
    if failed or wanted or inside:
        held = (before | wanted.keys() | inside.keys()) - failed
        placed = {**owned.known_of(wanted, shared.namespace), **shared.placed, **inside}
        shared.placed = owned.but_inside(placed, held)
        shared.stand_for(_tokens(held, shared))
    found = bool(failed or shared.by_token.keys() - before)
    seen: dict[int, int] = {}
    for node in nodes.values():
        for index in node.pickled.pickler.labels if node.pickled and node.pickled.pickler else ():
            root = unions.root(node.key)
            if seen.setdefault(id(index), root) != root and id(index) not in shared.inline and labels.is_labels(index):
                labels.token_of(index)
                found = True
    return found


def _tokens(held: Iterable[int], shared: Shared) -> dict[int, str]:
    """Return the tokens of what modules have, by id; of two in one place the second is as any other value."""
    found: dict[str, int] = {}
    for key in held:
        if key in shared.placed and found.setdefault(OF_MODULE + ".".join(shared.placed[key].places[0]), key) != key:
            shared.inline.add(key)
    return {key: token for token, key in found.items()}


def _is_apart(node: Node) -> bool:
    """Tell whether a node is of labels, or of what a module has, and no class."""
    return bool(node.token) and not issubclass(type(node.value), type)


def _settle_apart(nodes: dict[int, Node], unions: Unions) -> None:
    """Note the bytes of the labels that each needs, and join groups that need each other in a circle."""
    apart = {node.key: node.pickled.size_bytes for node in nodes.values() if node.pickled and _is_apart(node)}
    if not apart:
        return
    for node in nodes.values():
        if node.pickled is not None:
            node.beside_bytes = sum(apart.get(id(one), 0) for one in node.pickled.needs.values())
    _open_circles(nodes, unions)


def _open_circles(nodes: dict[int, Node], unions: Unions) -> None:
    needs: dict[int, set[int]] = {}
    for node in nodes.values():
        if node.pickled is not None and node.pickled.needs:
            own = unions.root(node.key)
            needs.setdefault(own, set()).update({unions.root(id(one)) for one in node.pickled.needs.values()} - {own})
    try:
        graphlib.TopologicalSorter(needs).prepare()
    except graphlib.CycleError as circle:
        for key in circle.args[1]:
            unions.join(circle.args[1][0], key)
        _open_circles(nodes, unions)


def _pickle_alone(node: Node, shared: Shared, cutter: Cutter) -> GroupPickler:
    own = {}
    if node.token:
        own = {id(node.value): 0}
        node.token = shared.token(node.value)
    pickler = pickler_for(shared, own)
    try:
        pickler = dumped(pickler, (shared.placed.get(node.key, node.value),))
    except Exception as error:
        node.reason = explain(node.label, node.value, error, pickler.last)
    else:
        node.pickled = _of_pickler(pickler, [node], cutter)
    return pickler


def _of_pickler(pickler: GroupPickler, nodes: list[Node], cutter: Cutter) -> Pickled:
    modules = pickler.modules.union(*(part.modules for part in pickler.parts))
    stream = pickler.file.getvalue()
    cuts = cutter.cuts_of(pickler.stand_ins)
    held = frozenset(id(node.value) for node in nodes)
    return Pickled(stream, pickler.buffers, pickler.needs, modules, pickler, pickler.parts, cuts, held)


def _lose_something(nodes: dict[int, Node], unions: Unions, shared: Shared, cutter: Cutter) -> bool:
    """Note what would lose something that it shares, and tell whether all has to be pickled again therefore."""
    known = shared.ties
    known.rounds -= 1
    known.now.clear()
    again = False
    for node in nodes.values():
        pickler = node.pickled.pickler if node.pickled else None
        if pickler is None or not pickler.noted:
            continue
        alone = functools.partial(_met_alone, node, shared)
        search = ties.Search(known, shared.namespace, unions, functools.partial(_met_ids, pickler), alone)
        for value, made in pickler.noted[: max(known.left, 0)]:
            known.left -= 1
            lost = search.lost(value, made)
            if lost:
                again = True
                holder = unions.holder(id(lost[0]))
                search.tie(value, lost, nodes[holder].label if holder in nodes else node.label)
        # what is in a part of a container is pickled with that container, and found in the next round
        again = bool(cutter.met(search.unmet, ())[0]) or again
    return again


def _met_ids(pickler: GroupPickler) -> frozenset[int]:
    return met(pickler).ids


def _met_alone(node: Node, shared: Shared, value: Any) -> frozenset[int]:
    """Return the ids of all that the pickle of a value by itself has."""
    assert node.pickled is not None
    assert node.pickled.pickler is not None
    if value is node.value:
        return met(node.pickled.pickler).ids
    pickler = pickler_for(shared, node.pickled.pickler.own)
    try:
        pickler.dump((value,))
    except Exception:  # it is only pickled within what it is in
        return met(node.pickled.pickler).ids
    return Met(pickler).ids


def _spread_failures(nodes: dict[int, Node]) -> None:
    """Name every variable that needs a class which cannot be saved."""
    changed = True
    while changed:
        changed = False
        for node in nodes.values():
            if node.reason is not None or node.pickled is None:
                continue
            for cls in node.pickled.needs.values():
                reason = nodes[id(cls)].reason
                if reason is not None:
                    node.reason = f"{node.label}: its class {cls.__qualname__} cannot be saved ({reason})"
                    node.pickled = None
                    changed = True
                    break


def _join(members: list[Node], shared: Shared, cutter: Cutter) -> Gathered | None:
    members.sort(key=lambda node: (not node.names, min(node.names, default=""), node.token or ""))
    own = {id(node.value): slot for slot, node in enumerate(members) if node.token}
    first = members[0].pickled
    assert first is not None
    joined: Pickled = first
    sizes = {
        name: node.pickled.size_bytes + node.beside_bytes for node in members if node.pickled for name in node.names
    }
    if len(members) > 1:
        for cut in [cut for node in members if own and node.pickled for cut in node.pickled.cuts]:
            # a part is loaded when the classes that it needs are there, which are made with this group
            cutter.uncut(id(cut))
        pickler = pickler_for(shared, own)
        pickler.noted = None  # what each loses was looked at before
        try:
            pickler = dumped(pickler, tuple(_slot(node, members, shared) for node in members))
        except Exception as error:
            for node in members:
                node.reason = explain(node.label, node.value, error, pickler.last)
            return None
        joined = _of_pickler(pickler, members, cutter)
    return Gathered(
        names={name: slot for slot, node in enumerate(members) for name in node.names},
        classes={node.token: slot for slot, node in enumerate(members) if node.token},
        pickled=joined,
        sizes=sizes,
        types={name: type_name(node.value) for node in members for name in node.names},
        placed={slot: shared.placed[node.key] for slot, node in enumerate(members) if node.key in shared.placed},
    )


def _slot(node: Node, members: list[Node], shared: Shared) -> Any:
    """Return what is pickled of a node among others that share objects with it."""
    placed = shared.placed.get(node.key)
    if placed is None:
        return node.value
    others = [other.pickled for other in members if other is not node and other.pickled]
    nested = any(
        node.token in each.needs or (each.pickler and id(node.value) in met(each.pickler).ids) for each in others
    )
    return placed.among(alone=False, nested=nested)


def type_name(value: Any) -> str:
    """Return what a person calls the type of a value: `pandas.DataFrame`, `int`, `Config`."""
    kind = type(value)
    module = (kind.__module__ or "").partition(".")[0]
    if module in ("builtins", "__main__", ""):
        return kind.__qualname__
    return f"{module}.{kind.__qualname__}"
