"""torch: storages as buffers that tensors share, on the device they came from or on the CPU where there is no such
device.

torch is never imported before the person did. The one trap: torch's own pickle writes each tensor's storage anew, so
two tensors of one memory would part; storages are known here by their address in C++ instead.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading
import warnings
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any

from dure.state.objects.refusals import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dure.state.objects.pickling import Reducer

_OWNED_BYTES = 256 * 1024
_GRAPH_LEFT = (
    "The autograd graph of a tensor ({node}) stayed behind when it was saved or went to or came from a GPU cell: "
    "only its value is here. Compute it and call .backward() in one cell, or in cells with %%gpu --keep 5m."
)
_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")
_nodes: dict[str, Any] = {}  # by name: what stands for a node of a graph that stayed behind
_left = threading.local()


class Holder:
    """Stands for one storage among the picklers of a capture, and keeps it alive meanwhile."""

    def __init__(self, storage: Any) -> None:
        self.storage = storage


def reducer_for(kind: type) -> Reducer | None:
    """Return the reducer of torch's tensors, storages and optimizers; None for other types."""
    if kind is Holder:
        return _reduce_holder
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "UntypedStorage"):
        return None
    if issubclass(kind, torch.Tensor):
        return _reduce_tensor
    if issubclass(kind, torch.storage.TypedStorage):
        return lambda pickler, typed: (typed_storage, (_holder(pickler, typed._untyped_storage), typed.dtype))  # noqa: SLF001
    if issubclass(kind, torch.UntypedStorage):
        return lambda pickler, storage: (untyped_storage, (_holder(pickler, storage),))
    optimizers = getattr(sys.modules.get("torch.optim"), "Optimizer", ())
    return _reduce_optimizer if issubclass(kind, optimizers) else None


def _reduce_optimizer(_: Any, optimizer: Any) -> Any:
    """Reduce an optimizer with its hooks and all that its own way leaves out, but for a scheduler's watch on it."""
    made = optimizer.__reduce_ex__(5)
    if len(made) < 3 or type(made[2]) is not dict:
        return made
    more = {name: item for name, item in vars(optimizer).items() if not hasattr(item, "_wrapped_by_lr_sched")}
    return *made[:2], {**more, **made[2]}, *made[3:]


PARTLY = (_reduce_optimizer,)


def _reduce_tensor(_: Any, tensor: Any) -> Any:
    if not tensor.is_leaf and tensor.requires_grad:
        return _reduce_computed(tensor)
    hooks = {name: found for name in _HOOKS if (found := getattr(tensor, name, None))}
    with warnings.catch_warnings() if hooks else contextlib.nullcontext():
        if hooks:  # torch leaves them out, and says so; here they are its state
            warnings.simplefilter("ignore")
        made = tensor.__reduce_ex__(5)
    if not isinstance(made, tuple) or len(made) != 2 or not (tensor.is_leaf and (hooks or tensor.grad is not None)):
        return made
    return made[0], made[1], (tensor.grad, hooks), None, None, set_gradient


def _reduce_computed(tensor: Any) -> Any:
    """Reduce a tensor that was computed from others: its value, and the name of its node in the autograd graph."""
    import torch

    plain = type(tensor) is torch.Tensor and tensor.layout is torch.strided
    made = tensor.detach().__reduce_ex__(5) if plain and not tensor._backward_hooks else None  # noqa: SLF001
    if not isinstance(made, tuple) or len(made) != 2 or tensor.is_conj() or tensor.is_neg():
        raise RefusedError(tensor, "a tensor with its autograd graph; its .detach() can be saved")
    state = (tensor.grad if tensor.retains_grad else None, tensor.retains_grad, dict(vars(tensor)))
    return computed, (*made, type(tensor.grad_fn).__name__), state, None, None, set_computed


def _holder(pickler: Any, storage: Any) -> Holder:
    holders = pickler.shared.plains
    key = ("storage", storage._cdata)  # noqa: SLF001 - the address is the storage's only lasting identity
    if key not in holders:
        holders[key] = Holder(storage)
    found = holders[key]
    assert isinstance(found, Holder)
    return found


def _reduce_holder(pickler: Any, holder: Holder) -> Any:
    storage = holder.storage
    if storage.device.type == "cpu" and storage.nbytes():
        found = pickler.shared.lenders.lender(storage, storage.data_ptr(), storage.nbytes())
        if found is not None:
            owner, offset = found
            if isinstance(owner, type(storage)):
                return storage_in, (_holder(pickler, owner), offset, storage.nbytes())
            on = storage_on if hasattr(owner, "__array_interface__") else storage_of  # that of torch.frombuffer
            return on, (owner, offset, storage.nbytes())
    device = getattr(storage, "_dure_device", None) or str(storage.device)
    if storage.device.type != "cpu":
        storage = storage.cpu()
    size = storage.nbytes()
    if not size:
        return restore_storage, (b"", device)
    memory = (ctypes.c_ubyte * size).from_address(storage.data_ptr())
    memory._dure_storage = storage  # noqa: SLF001 - keeps a copy made for this alive as long as its bytes are read
    return restore_storage, (PickleBuffer(memory), device)


def restore_storage(buffer: Any, device: str) -> Any:
    """Return a storage on `device`, or on the CPU, remembering the device for the way back."""
    import torch

    if not memoryview(buffer):
        storage = torch.UntypedStorage(0)
    else:
        view = memoryview(buffer)
        # the memory's owner, not a view of it: torch holds it where Python's garbage collector cannot see
        memory = bytearray(buffer) if view.nbytes < _OWNED_BYTES else view.obj
        storage = torch.frombuffer(memory, dtype=torch.uint8).untyped_storage()
    kind = device.partition(":")[0]
    if kind == "cpu":
        return storage
    if kind == "cuda" and torch.cuda.is_available():
        index = int(device.partition(":")[2] or 0)
        return storage.cuda(index if index < torch.cuda.device_count() else 0)
    storage._dure_device = device  # noqa: SLF001
    return storage


def storage_on(array: Any, offset: int, size_bytes: int) -> Any:
    """Return a storage on the memory of a numpy array."""
    import torch

    raw = array.reshape(-1, order="A").view("u1")[offset : offset + size_bytes]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch has no read-only tensors; this one was one before, too
        return torch.from_numpy(raw).untyped_storage()


def storage_of(source: Any, offset: int, size_bytes: int) -> Any:
    """Return a storage on the bytes of another object."""
    import torch

    return torch.frombuffer(source, dtype=torch.uint8, count=size_bytes, offset=offset).untyped_storage()


def storage_in(storage: Any, offset: int, size_bytes: int) -> Any:
    """Return a storage on the memory of another one."""
    import torch

    raw = torch.empty(0, dtype=torch.uint8).set_(storage).numpy()[offset : offset + size_bytes]
    return torch.from_numpy(raw).untyped_storage()


def typed_storage(storage: Any, dtype: Any) -> Any:
    """Return torch's older, typed name for the same storage."""
    import torch

    return torch.storage.TypedStorage(wrap_storage=storage, dtype=dtype, _internal=True)


def untyped_storage(storage: Any) -> Any:
    """Return the storage itself."""
    return storage


def set_gradient(tensor: Any, state: tuple[Any, ...]) -> None:
    """Give a leaf tensor its gradient back, and what is called with it (not in pickles of before 23 November 2026)."""
    tensor.grad = state[0]
    for name, hooks in (state[1] if len(state) > 1 else {}).items():
        setattr(tensor, name, hooks)


def computed(build: Callable[..., Any], made: tuple[Any, ...], node: str) -> Any:
    """Return a tensor of the same value that needs a gradient, too; asking for one through it is a RuntimeError.

    So nothing is computed from half a graph: it was made by `node`, as it prints, but that node's inputs are gone.
    """
    import torch

    _left.count = graphs_left() + 1
    with torch.inference_mode(mode=False), torch.enable_grad():
        return _node(node).apply(torch.zeros((), requires_grad=True), build(*made))


def set_computed(tensor: Any, state: tuple[Any, bool, dict[str, Any]]) -> None:
    """Give it the gradient that was retained, and the attributes that the person set."""
    gradient, retained, attributes = state
    if retained:
        tensor.retain_grad()
        tensor.grad = gradient
    vars(tensor).update(attributes)


def graphs_left() -> int:
    """Return how many tensors this thread has loaded without their autograd graph."""
    return int(getattr(_left, "count", 0))


def _node(name: str) -> Any:
    import torch

    def forward(_ctx: Any, _anchor: Any, value: Any) -> Any:
        # not the input itself, which torch would take for a view of it that may not be changed in place
        same = torch.empty(0, dtype=value.dtype, device=value.device)
        return same.set_(value.untyped_storage(), value.storage_offset(), value.size(), value.stride())

    def backward(_ctx: Any, *_: Any) -> Any:
        raise RuntimeError(_GRAPH_LEFT.format(node=name))

    if name not in _nodes:
        members = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
        node: Any = type(name, (torch.autograd.Function,), members)
        shown = node._backward_cls  # noqa: SLF001 -- by whose name torch prints the tensor
        shown.__name__ = shown.__qualname__ = name
        _nodes[name] = node
    return _nodes[name]
