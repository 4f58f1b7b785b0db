"""torch: modules, optimizers and views keep sharing memory; tensors from a GPU come back on a machine without one."""

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed in this environment")

from dure.state import FolderBlobs, capture, changed, restore  # noqa: E402
from dure.state.libraries.tensors import restore_storage  # noqa: E402

SETUP = """
import torch
net = torch.nn.Sequential(torch.nn.Linear(300, 300), torch.nn.ReLU(), torch.nn.Linear(300, 2))
optimizer = torch.optim.Adam(net.parameters())
x = torch.randn(4, 300)
net(x).sum().backward()
optimizer.step()
weight, rows, turned, loss = net[0].weight, x[1:3], x.t(), net(x).sum()
other = torch.zeros(3)
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)
    def forward(self, values): return self.layer(values)
mine = Net()
"""


@pytest.fixture
def trained(tmp_path):
    """A trained model, saved and restored: what was, what came back, the snapshot and the store."""
    scope, back = {"__name__": "__main__"}, {"__name__": "__main__"}
    exec(SETUP, scope)
    blobs = FolderBlobs(tmp_path)
    snapshot = capture(scope, blobs=blobs)
    assert restore(snapshot, blobs, into=back).failed == {}
    return scope, back, snapshot, blobs


def test_parameters_stay_aliased_and_views_stay_views(trained):
    scope, back, snapshot, _ = trained
    assert not snapshot.unsaved
    assert back["optimizer"].param_groups[0]["params"][0] is back["net"][0].weight is back["weight"]
    assert back["rows"].data_ptr() == back["x"][1].data_ptr()
    assert back["turned"].data_ptr() == back["x"].data_ptr()
    assert torch.equal(back["weight"].grad, scope["weight"].grad)
    assert torch.equal(back["net"](back["x"]), scope["net"](scope["x"]))
    assert isinstance(back["mine"], back["Net"])


def test_a_computed_tensor_has_its_value_and_no_gradient_flows_through_it(trained):
    scope, back, snapshot, blobs = trained
    loss = back["loss"]
    assert torch.equal(loss, scope["loss"])
    assert (repr(loss), loss.requires_grad, loss.is_leaf) == (repr(scope["loss"]), True, False)
    with pytest.raises(RuntimeError, match=r"autograd graph of a tensor .SumBackward0. stayed behind"):
        (loss + back["weight"].sum()).backward()
    assert restore(snapshot, blobs, into={}).graphs_left == ("loss",)
    assert "loss" not in changed(back, snapshot, blobs=blobs).changed


def test_computed_tensors_keep_memory_gradients_and_attributes(tmp_path):
    scope: dict[str, Any] = {"__name__": "__main__"}
    back: dict[str, Any] = {"__name__": "__main__"}
    code = "import torch\nw = torch.ones(2, 3, requires_grad=True)\nh = w * 2\nh.retain_grad()\nv = h.view(3, 2)"
    exec(f"{code}\nv.sum().backward()\nh.label = 'hidden'\nlayers = [h]\nconjugate = (w * 1j).conj()", scope)
    blobs = FolderBlobs(tmp_path)
    snapshot = capture(scope, blobs=blobs)
    assert "autograd graph" in snapshot.unsaved["conjugate"]
    with torch.no_grad():
        assert restore(snapshot, blobs, into=back).graphs_left == ("h", "layers", "v")
    assert back["layers"][0] is back["h"]
    assert (back["h"].grad.tolist(), back["h"].label) == ([[1] * 3] * 2, "hidden")
    with torch.no_grad():
        back["h"] += 1
    assert back["v"].tolist() == [[3, 3]] * 3


def test_only_what_changed_is_seen(trained):
    _, back, snapshot, blobs = trained
    assert changed(back, snapshot, blobs=blobs).changed == ()
    with torch.no_grad():
        back["weight"][0, 0] += 1
    assert changed(back, snapshot, blobs=blobs).changed == ("net", "optimizer", "weight")
    back["rows"][0, 0] = 5
    assert changed(back, snapshot, blobs=blobs).changed == ("net", "optimizer", "rows", "turned", "weight", "x")


@pytest.mark.skipif(torch.cuda.is_available(), reason="tells what happens where there is no GPU")
def test_a_storage_from_a_gpu_remembers_it_on_the_cpu(tmp_path):
    blobs = FolderBlobs(tmp_path)
    tensor = torch.empty(0, dtype=torch.float32).set_(restore_storage(bytearray(8), "cuda:1"))
    assert tensor.device.type == "cpu"
    back: dict[str, Any] = {}
    restore(capture({"tensor": tensor}, blobs=blobs), blobs, into=back)
    assert back["tensor"].tolist() == [0.0, 0.0]
    assert back["tensor"].untyped_storage()._dure_device == "cuda:1"
