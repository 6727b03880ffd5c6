"""The fused split attention against the plain one.

On a GPU these run as they are. Elsewhere they run in Triton's interpreter, which must be
switched on before Triton is imported: hence the process of its own that the last test starts.
"""

import copy
import importlib.util
import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from resnest_search.models import ResNeSt, SplitAttention
from resnest_search.models.fused import FusedSplitAttention, fuse, fusible
from resnest_search.variant import Variant

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
HERE = fusible(DEVICE)
fused_only = pytest.mark.skipif(not HERE, reason="runs in the process that the last test starts")
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def block(radix=2, cardinality=2, channels=8, hidden=8, **options):
    """A plain block whose norms are not the identity, some weights negative."""
    torch.manual_seed(radix * 100 + cardinality)
    made = SplitAttention(channels, hidden, radix=radix, cardinality=cardinality, **options)
    for norm in (made.bn0, made.bn1):
        nn.init.uniform_(norm.weight, -1.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
        norm.running_mean.uniform_(-0.5, 0.5)
        norm.running_var.uniform_(0.5, 1.5)
    return made.to(DEVICE)


def everything(module, x, gradient):
    """Output, gradients of input and parameters, and buffers, after one step, in float64."""
    x = x.detach().clone().requires_grad_()
    out = module(x)
    out.backward(gradient.to(out.dtype))
    found = {"output": out, "input gradient": x.grad}
    found |= {f"{name} gradient": p.grad for name, p in module.named_parameters()}
    found |= dict(module.named_buffers())
    return {name: tensor.detach().double() for name, tensor in found.items()}


def assert_as_exact(fused, plain, exact, slack=4.0, floor=2e-6):
    """The fused form errs no more than a few times what the plain one does."""
    for name, truth in exact.items():
        scale = truth.abs().max() + 1e-3
        own, theirs = ((some[name] - truth).abs().max() / scale for some in (fused, plain))
        assert own <= slack * theirs + floor, f"{name}: {own:.1e}, plain {theirs:.1e}"


@fused_only
@pytest.mark.parametrize("layout", LAYOUTS, ids=["contiguous", "channels_last"])
@pytest.mark.parametrize(
    ("radix", "cardinality", "channels", "side"),
    [(1, 1, 8, 4), (2, 1, 6, 5), (2, 2, 8, 7), (4, 1, 8, 3), (3, 2, 12, 1)],
)
@pytest.mark.parametrize("training", [True, False])
def test_outputs_gradients_and_statistics(layout, radix, cardinality, channels, side, training):
    plain = block(radix, cardinality, channels).train(training).to(memory_format=layout)
    fused, exact = fuse(copy.deepcopy(plain)), copy.deepcopy(plain).double()
    x = torch.randn(4, channels, side, side + 2, device=DEVICE).to(memory_format=layout)
    gradient = torch.randn_like(x)
    assert_as_exact(
        everything(fused, x, gradient),
        everything(plain, x, gradient),
        everything(exact, x.double(), gradient),
    )


@fused_only
@pytest.mark.parametrize(
    ("layout", "channels", "sides"),
    [(torch.contiguous_format, 4, (47, 45)), (torch.channels_last, 70, (9, 11))],
    ids=["contiguous", "channels_last"],
)
def test_maps_in_many_parts_and_tiles(layout, channels, sides):
    plain = block(2, 1, channels, 32).to(memory_format=layout)
    fused, exact = fuse(copy.deepcopy(plain)), copy.deepcopy(plain).double()
    x = torch.randn(2, channels, *sides, device=DEVICE).to(memory_format=layout)
    gradient = torch.randn_like(x)
    assert_as_exact(
        everything(fused, x, gradient),
        everything(plain, x, gradient),
        everything(exact, x.double(), gradient),
        slack=10,  # sums of thousands, in another order
    )


@fused_only
def test_a_large_offset_does_not_eat_the_variance():
    plain = block(2, 1, 4, 32)
    fused, exact = fuse(copy.deepcopy(plain)), copy.deepcopy(plain).double()
    x = torch.randn(4, 4, 6, 6, device=DEVICE) + 300
    gradient = torch.randn_like(x)
    found = everything(fused, x, gradient)
    truth = everything(exact, x.double(), gradient)
    for name in ("bn0.running_mean", "bn0.running_var"):
        torch.testing.assert_close(found[name], truth[name], rtol=1e-4, atol=1e-4)


@fused_only
def test_frozen_norms_in_a_network_that_trains():
    plain = block().train()
    plain.bn0.eval(), plain.bn1.eval()
    fused, exact = fuse(copy.deepcopy(plain)), copy.deepcopy(plain).double()
    x = torch.randn(4, 8, 5, 5, device=DEVICE)
    gradient = torch.randn_like(x)
    assert_as_exact(
        everything(fused, x, gradient),
        everything(plain, x, gradient),
        everything(exact, x.double(), gradient),
    )


@fused_only
@pytest.mark.parametrize("make", [torch.Tensor.sum, lambda out: (out * out.flip(3)).mean()])
def test_gradients_of_any_layout(make):
    plain = block()
    fused = fuse(copy.deepcopy(plain))
    x = torch.randn(3, 8, 4, 4, device=DEVICE)
    grads = []
    for module in (plain, fused):
        own = x.clone().requires_grad_()
        make(module(own)).backward()
        grads.append(own.grad)
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-4, atol=1e-5)


@fused_only
def test_half_precision_and_autocast():
    plain = block(2, 1, 16, 32)
    fused = fuse(copy.deepcopy(plain))
    x = torch.randn(16, 16, 6, 6, device=DEVICE)
    gradient = torch.randn_like(x)
    exact = everything(copy.deepcopy(plain), x, gradient)
    with torch.autocast(DEVICE.type, torch.bfloat16):
        halves = [everything(module, x, gradient) for module in (fused, plain)]
        assert fused(x).dtype == plain(x).dtype
    assert_as_exact(*halves, exact, slack=2, floor=0.1)
    exact = plain.eval()(x)
    theirs, own = (copy.deepcopy(m).eval().bfloat16()(x.bfloat16()) for m in (plain, fused))
    assert own.dtype == torch.bfloat16
    assert (own - exact).abs().max() <= 2 * (theirs - exact).abs().max()


@fused_only
def test_operators_are_registered_properly():
    x = torch.randn(3, 8, 4, 4, device=DEVICE, requires_grad=True)
    norm = (torch.rand(4, 8, device=DEVICE) + 0.5).requires_grad_()
    ops = torch.ops.resnest_search
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(ops.channel_moments, (x.detach(),), test_utils=checks)
    torch.library.opcheck(ops.pool_splits, (x, norm, 2, True), test_utils=checks)
    fixed = (x.detach(), norm.detach())
    _, _, token, carrier = ops.pool_splits(*fixed, 2, True)
    attention = torch.rand(3, 2, 4, device=DEVICE, requires_grad=True)
    inputs = (*fixed, attention, token, carrier)
    torch.library.opcheck(ops.combine_splits, inputs, test_utils=checks)


@fused_only
@pytest.mark.parametrize("training", [True, False])
def test_compiles_without_a_break(training):
    fused = fuse(block(2, 2, 8)).train(training)
    again = copy.deepcopy(fused)
    compiled = torch.compile(again, backend="aot_eager", fullgraph=True)
    x, gradient = torch.randn(2, 3, 8, 5, 5, device=DEVICE).unbind(0)
    expected = everything(fused, x, gradient)
    own = x.clone().requires_grad_()
    out = compiled(own)
    out.backward(gradient)
    torch.testing.assert_close(out.double(), expected["output"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(own.grad.double(), expected["input gradient"], rtol=1e-4, atol=1e-6)
    grad = again.bn0.weight.grad.double()
    torch.testing.assert_close(grad, expected["bn0.weight gradient"], rtol=1e-4, atol=1e-5)


@fused_only
def test_trains_under_ddp(tmp_path):
    torch.distributed.init_process_group(
        "nccl" if DEVICE.type == "cuda" else "gloo",
        init_method=f"file://{tmp_path / 'rendezvous'}",
        rank=0,
        world_size=1,
    )
    try:
        plain = block()
        fused = nn.parallel.DistributedDataParallel(fuse(copy.deepcopy(plain)))
        x = torch.randn(4, 8, 4, 4, device=DEVICE)
        for module in (plain, fused):
            module(x).square().sum().backward()
        for expected, found in zip(plain.parameters(), fused.parameters(), strict=True):
            torch.testing.assert_close(found.grad, expected.grad, rtol=1e-3, atol=1e-4)
    finally:
        torch.distributed.destroy_process_group()


def kept_bytes(module, x):
    """Bytes that the forward pass keeps for the backward pass, parameters aside."""
    own = {p.untyped_storage().data_ptr() for p in module.parameters()}
    storages = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        module(x)
    return sum(storages.values())


@fused_only
def test_training_keeps_the_convolutions_output_alone():
    plain = block(4, 1, 16, 32)
    x = torch.randn(4, 16, 12, 12, device=DEVICE, requires_grad=True)
    one_map, all_splits = x.numel() * 4, 4 * x.numel() * 4
    fused = kept_bytes(fuse(copy.deepcopy(plain)), x)
    assert fused < one_map + all_splits + 0.2 * all_splits  # the 3x3's input and its output
    assert kept_bytes(plain, x) > one_map + 2 * all_splits


class Largest(TorchDispatchMode):
    """Counts the tensors of at least so many elements that operators make."""

    def __init__(self, numel):
        super().__init__()
        self.numel, self.makers = numel, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor) and tensor.numel() >= self.numel:
                self.makers.append(str(func))
        return out


@fused_only
def test_inference_writes_no_map_of_all_splits_but_the_convolutions():
    fused = fuse(block(2, 1, 8, 32)).eval()
    x = torch.randn(2, 8, 6, 6, device=DEVICE)
    with torch.no_grad(), Largest(2 * x.numel()) as seen:
        fused(x)
    assert [name for name in seen.makers if "conv" not in name and "detach" not in name] == []
    assert any("conv" in name for name in seen.makers)


@fused_only
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("spoil", ["image", "weight", "statistic"])
def test_what_is_no_number_stays_so(spoil, training):
    """A ReLU that made it 0 would hide a training that has diverged, and its export gives NaN."""
    plain, x = block().train(training), torch.randn(3, 8, 4, 4, device=DEVICE)
    with torch.no_grad():
        if spoil == "image":
            x[1, 2, 1, 1] = torch.nan
        if spoil == "weight":
            plain.conv.weight[3, 0] = torch.nan
        if spoil == "statistic":
            plain.bn0.running_var[5] = torch.nan
    gradient = torch.randn_like(x)
    found = everything(fuse(copy.deepcopy(plain)), x, gradient)
    for name, expected in everything(plain, x, gradient).items():
        # Sums that are weighed afterwards may be none in more places than what is weighed first.
        assert found[name].isnan()[expected.isnan()].all(), name
        assert name != "output" or found[name].isnan().equal(expected.isnan())


@fused_only
@pytest.mark.parametrize("spoil", ["double", "dropblock", "syncbn", "cumulative"])
def test_falls_back_where_it_does_not_apply(spoil, monkeypatch):
    made = block(dropblock=0.3 if spoil == "dropblock" else 0.0)
    x = torch.randn(3, 8, 4, 4, device=DEVICE)
    if spoil == "double":
        made, x = made.double(), x.double()
    if spoil == "syncbn":
        made.bn0 = nn.SyncBatchNorm(16)
    if spoil == "cumulative":
        made.bn0.momentum = None
    fused = fuse(copy.deepcopy(made))
    monkeypatch.setattr(torch.ops.resnest_search, "pool_splits", None)
    outs = []
    for module in (made, fused):
        torch.manual_seed(0)
        outs.append(module.train(spoil != "syncbn")(x))
    torch.testing.assert_close(*outs)


def test_a_whole_network_keeps_its_names_and_its_function():
    network = ResNeSt(Variant.parse("2s2x32d"), depths=[1, 1], planes=[8, 8], num_classes=4)
    fused = fuse(copy.deepcopy(network))
    assert list(fused.state_dict()) == list(network.state_dict())
    blocks = [m for m in fused.modules() if isinstance(m, SplitAttention)]
    assert [type(m) for m in blocks] == [FusedSplitAttention] * 2
    network, fused = network.to(DEVICE), fused.to(DEVICE)
    x = torch.randn(2, 3, 8, 8, device=DEVICE)
    torch.testing.assert_close(fused.eval()(x), network.eval()(x), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(HERE, reason="the tests above have run")
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_all_of_the_above_in_tritons_interpreter():
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", __file__]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:]
    assert " passed" in done.stdout
