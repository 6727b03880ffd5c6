"""Tensors on paper against torch's fake ones, which know every operator and take far longer."""

import functools

import pytest
import torch
from hypothesis import Phase, assume, example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from resnest_search.cost.account import Account, account, sgd, train_step
from resnest_search.cost.live import LiveBytes
from resnest_search.cost.precision import dtype_of
from resnest_search.cost.shapes import OnPaper
from resnest_search.models import ResNeSt
from resnest_search.models.fast import Choice, fold_
from resnest_search.variant import Variant


def cast_(network, dtype):
    """``network.to(dtype)``, which refuses fake parameters; keeps none of the old ones."""
    for module in network.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                setattr(module, name, nn.Parameter(parameter.to(dtype), requires_grad=False))
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.is_floating_point():
                setattr(module, name, buffer.to(dtype))


def with_fake_tensors(make, inference, training, precision, training_precision, folded):
    """The account of `account`, of fake tensors, with the update of every parameter."""
    with FakeTensorMode(), LiveBytes() as memory:
        network = make().train()
        optimizer = sgd(network.parameters())
        for parameter in network.parameters():
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        memory.restart()
        train_step(network, optimizer, torch.empty(training), training_precision)
        optimizer.zero_grad()
    step = memory.peak
    with FakeTensorMode(), LiveBytes() as memory, torch.no_grad():
        network = make().eval()
        parameters = sum(parameter.numel() for parameter in network.parameters())
        if folded:
            fold_(network, Choice(True, {}), fused=False)
        cast_(network, dtype_of(precision))
        memory.restart()
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(inference, dtype=dtype_of(precision)))
    macs = counter.get_total_flops() // (2 * inference[0])
    return Account(parameters, macs, memory.peak, step)


SMALL = {"depths": [1, 2], "planes": [16, 32], "stem_width": 4, "num_classes": 10}
FIFTY = {"depths": [3, 4, 6, 3], "planes": [64, 128, 256, 512], "stem": "deep", "avd_first": True}
PRECISIONS = st.sampled_from(["fp32", "bf16", "fp16"])


@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    st.sampled_from(["0s1x64d", "0s2x40d", "1s1x64d", "1s4x32d", "2s1x64d", "2s2x40d", "4s1x64d"]),
    st.fixed_dictionaries(
        {},
        optional={
            "stem": st.just("deep"),
            "avd": st.just(False),
            "avd_first": st.just(True),
            "avg_down": st.just(False),
            "radix0": st.just("avd"),
            "dropout": st.just(0.1),
            "dropblock": st.just(0.2),
            "output_stride": st.just(4),
        },
    ),
    st.tuples(st.integers(1, 5), st.just(3), st.integers(8, 40), st.integers(8, 40)),
    st.tuples(st.integers(2, 65), st.just(3), st.integers(8, 40), st.integers(8, 40)),
    PRECISIONS,
    PRECISIONS,
    st.booleans(),
)
@example("4s2x40d", FIFTY, (2, 3, 97, 131), (32, 3, 97, 131), "fp32", "bf16", True)
def test_the_account_is_that_of_fake_tensors(
    text, options, inference, training, precision, training_precision, folded
):
    assume("stem" in options or "output_stride" not in options)  # 4 is a stride of the deep one

    def make():
        return ResNeSt(Variant.parse(text), **SMALL | options)

    found = account(
        make,
        inference=inference,
        training=training,
        precision=precision,
        training_precision=training_precision,
        folded=folded,
    )
    assert found == with_fake_tensors(
        make, inference, training, precision, training_precision, folded
    )


def nchw(*sides, dtype=torch.float32, layout=torch.contiguous_format):
    return torch.empty(sides, dtype=dtype).contiguous(memory_format=layout)


def differentiated(run):
    """Values and gradients of the sum of a function of tensors."""

    def both(*tensors):
        leaves = [tensor.detach().requires_grad_() for tensor in tensors]
        out = run(*leaves)
        out.sum().backward()
        return [out.detach(), *(leaf.grad for leaf in leaves)]

    return both


X = functools.partial(nchw, 3, 4, 5, 6)
LAST = functools.partial(X, layout=torch.channels_last)
COMPUTATIONS = {
    "same sides": (torch.add, X, X),
    "other layout": (torch.mul, X, LAST),
    "broadcast": (torch.mul, X, lambda: nchw(3, 4, 1, 1)),
    "fewer sides": (torch.add, X, lambda: nchw(6)),
    "outgrown": (torch.add, lambda: nchw(3, 1, 5, 6), X),
    "outer": (torch.mul, lambda: nchw(3, 1), lambda: nchw(1, 4)),
    "promoted": (torch.add, X, lambda: X(dtype=torch.bfloat16)),
    "number": (lambda x: x / 3 * 2.5 + 1, X),
    "whole": (lambda x: x.long() * 2 + x.long() / 2, X),
    "expanded": (lambda x: -(x.expand(3, 4, 5, 6) * 2), lambda: nchw(3, 4, 1, 1)),
    "mean": (lambda x: x.mean((2, 3)), X),
    "mean, negative dims": (lambda x: x.mean((-1, 1), keepdim=True), LAST),
    "sum of all": (lambda x: x.sum(dim=[]), X),
    "sum in another type": (lambda x: x.sum(1, dtype=torch.float64), X),
    "softmax": (lambda x: x.softmax(1), X),
    "loss": (
        lambda x: F.cross_entropy(x, torch.zeros(3, dtype=torch.int64), label_smoothing=0.1),
        lambda: nchw(3, 7),
    ),
    "clone": (lambda x: x.clone(memory_format=torch.contiguous_format) + x.clone(), LAST),
    "linear": (F.linear, lambda: nchw(3, 4), lambda: nchw(5, 4), lambda: nchw(5)),
    "bmm": (torch.bmm, lambda: nchw(2, 3, 4), lambda: nchw(2, 4, 5)),
    "convolution": (
        lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=1, groups=2),
        *(X, lambda: nchw(6, 2, 3, 3), lambda: nchw(6)),
    ),
    "dilated": (lambda x, w: F.conv2d(x, w, dilation=2), X, lambda: nchw(6, 4, 3, 2)),
    "convolution, channels_last": (
        lambda x, w: F.conv2d(x, w, padding=1),
        *(LAST, lambda: nchw(6, 4, 3, 3, layout=torch.channels_last)),
    ),
    "transposed convolution": (F.conv_transpose2d, X, lambda: nchw(4, 6, 3, 3)),
    "pools": (
        lambda x: F.avg_pool2d(F.max_pool2d(x, 3, 2, padding=1), 2, 2, ceil_mode=True),
        X,
    ),
    "relu": (lambda x: (x * 1).relu_(), LAST),
    **{
        f"batch norm, {layout}, {training}": (
            lambda x, w, training=training: F.batch_norm(x, w.detach(), w.detach(), w, w, training),
            *(make, lambda: nchw(4)),
        )
        for layout, make in (("contiguous", X), ("channels_last", LAST))
        for training in (True, False)
    },
}


# Whole numbers have no gradient; and fake tensors lay this one out as no kernel does.
WITHOUT_GRADIENTS = {"whole", "batch norm, channels_last, False"}


def looked_at(mode, run, makers):
    with mode as memory:
        found = run(*(make() for make in makers))
        looks = [
            None if each is None else (each.shape, each.stride(), each.dtype, each.device.type)
            for each in (found if isinstance(found, list) else [found])
        ]
        return looks, memory.peak, memory.live


class Fake(LiveBytes):
    """`LiveBytes` of fake tensors."""

    def __enter__(self):
        self._fakes = FakeTensorMode()
        self._fakes.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._fakes.__exit__(*error)


@pytest.mark.parametrize("name", COMPUTATIONS)
def test_an_operator_makes_what_it_makes_of_fake_tensors(name):
    run, *makers = COMPUTATIONS[name]
    assert looked_at(OnPaper(), run, makers) == looked_at(Fake(), run, makers)


@pytest.mark.parametrize("name", [name for name in COMPUTATIONS if name not in WITHOUT_GRADIENTS])
def test_and_its_gradients(name):
    run, *makers = COMPUTATIONS[name]
    run = differentiated(run)
    assert looked_at(OnPaper(), run, makers) == looked_at(Fake(), run, makers)


def test_operations_are_counted_where_asked_for():
    for asked, expected in ((True, 2 * 3 * 4 * 5), (False, 0)):
        with OnPaper(count_flops=asked) as memory:
            F.linear(torch.empty(3, 4), torch.empty(5, 4))
        assert memory.flops == expected


def test_numbers_are_not_there():
    with OnPaper(), pytest.raises(RuntimeError):
        torch.ones(3).sum().item()


def test_nothing_computes_on_paper_outside():
    with OnPaper():
        x = torch.empty(3)
    with pytest.raises(RuntimeError, match="outside `OnPaper`"):
        x + 1
