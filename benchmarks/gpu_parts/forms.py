"""The fused form of split attention against the plain one, and whole networks compiled."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from model import LAYOUTS, networks
from shipped import section
from torch import nn

from gpu_parts.found import Found, Setting
from resnest_search.configuration.schema import ModelConfig
from resnest_search.models import SplitAttention
from resnest_search.models.fast import fast
from resnest_search.models.float32 import float32_products
from resnest_search.models.fused import fuse, fusible
from resnest_search.variant import Variant

__all__ = ["compiled", "fused"]


@dataclass(frozen=True)
class Case:
    """One block and its ``[batch, channels, height, width]`` images."""

    radix: int
    cardinality: int
    channels: int
    hidden: int
    batch: int
    sides: tuple[int, int]

    def __str__(self) -> str:
        height, width = self.sides
        return (
            f"{self.radix}s{self.cardinality}x, {self.batch} images, "
            f"{self.channels} channels, {height}x{width}"
        )

    def block(self) -> SplitAttention:
        """A plain block whose norms are not the identity, some weights negative."""
        torch.manual_seed(0)
        made = SplitAttention(
            self.channels, self.hidden, radix=self.radix, cardinality=self.cardinality
        )
        for norm in (made.bn0, made.bn1):
            nn.init.uniform_(norm.weight, -1.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
            norm.running_mean.uniform_(-0.5, 0.5)
            norm.running_var.uniform_(0.5, 1.5)
        return made


SMALL = [Case(2, 2, 12, 16, 8, (5, 3))]
CASES = [
    *SMALL,
    Case(1, 1, 64, 32, 32, (56, 56)),
    Case(2, 2, 320, 80, 16, (14, 14)),
    Case(4, 1, 72, 36, 17, (13, 27)),  # odd sides, and channels that fill no tile
]
# In bfloat16 the splits of this one have 2^31.1 elements, more than a 32-bit index reaches.
LARGE = Case(2, 1, 32, 32, 720, (224, 224))
LARGE_ELEMENTS = 2**31
LARGE_GIB = 40.0  # its maps, their gradients and what a convolution works in
# Floors of the relative error of (outputs and statistics, gradients), see `NOTES`.
FLOORS = {"fp32": (1e-5, 2e-3), "bf16": (2e-2, 0.2), "autocast": (2e-2, 0.2)}
NOTES = [
    "Errors are lengths of differences from float64, relative to its length; of all outputs, "
    "gradients and running statistics the worst stands in the table.",
    "The fused form may err twice as much as the plain one does, and by a floor besides. Of "
    "values it is 1e-5 in fp32, the rounding of sums of up to 1e5 terms in another order, and 2e-2 "
    "in bf16 and autocast, five roundings to 8 bits (2^-8 each). Of gradients it is more, since a "
    "ReLU whose input rounds to the other side of 0 changes its element wholly, and a share p of "
    "them is an error of sqrt(p): in fp32 2e-3, of a few in a million; else 0.2, of the ReLU in "
    "the attention, where at 8 bits it is a few in a hundred. A wrong index errs by about 1.",
    "Float32 convolutions are IEEE, not TF32. In training fc1's bias has no gradient but rounding, "
    "since batch norm takes it out again: left out.",
]


@float32_products("fp32")
def fused(setting: Setting, found: Found) -> None:
    """Outputs, gradients and running statistics of one block in both forms, and in float64."""
    if not fusible(setting.device):
        found.skipped.append("needs Triton")
        return
    found.notes += NOTES
    rows = []
    for case in SMALL if setting.small else CASES:
        for precision in FLOORS:
            for layout in LAYOUTS:
                for training in (True, False):
                    mode = "training" if training else "eval"
                    what = f"{case}, {precision}, {layout}, {mode}"
                    with found.case(what, setting) as go:
                        if go:
                            errors = compare(case, precision, layout, training, setting.device)
                            rows.append(judged(found, what, precision, errors))
    if setting.cuda:
        for layout in LAYOUTS:
            with found.case(f"large tensors, {layout}", setting, seconds=15) as go:
                if go:
                    large(layout, setting, found)
    else:
        found.skipped.append("large tensors: needs CUDA")
    found.table(rows)


def everything(
    module: nn.Module, x: torch.Tensor, gradient: torch.Tensor, autocast: bool
) -> dict[str, torch.Tensor]:
    """Output, gradients of input and parameters, and buffers, after one step, in float64."""
    x = x.detach().clone().requires_grad_()
    with torch.autocast(x.device.type, torch.bfloat16) if autocast else nullcontext():
        out = module(x)
    out.backward(gradient.to(out.dtype))
    assert x.grad is not None
    found = {"output": out, "input gradient": x.grad}
    found |= {f"{name} gradient": p.grad for name, p in module.named_parameters()}
    found |= dict(module.named_buffers())
    return {name: tensor.detach().double() for name, tensor in found.items()}


def compare(
    case: Case, precision: str, layout: str, training: bool, device: torch.device
) -> dict[str, tuple[float, float]]:
    """Relative errors of the fused and of the plain form, by the name of the tensor."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    memory = LAYOUTS[layout]
    plain = case.block().to(device, kind).to(memory_format=memory).train(training)
    forms = {"fused": fuse(copy.deepcopy(plain)), "plain": plain}
    exact = copy.deepcopy(plain).double()
    x = torch.randn(case.batch, case.channels, *case.sides, device=device, dtype=kind)
    x = x.contiguous(memory_format=memory)
    gradient = torch.randn_like(x)
    autocast = precision == "autocast"
    truth = everything(exact, x.double(), gradient, False)
    found = {form: everything(made, x, gradient, autocast) for form, made in forms.items()}
    if training:
        del truth["fc1.bias gradient"]  # nothing but rounding, since batch norm follows
    return {
        name: (apart(found["fused"][name], true), apart(found["plain"][name], true))
        for name, true in truth.items()
    }


def apart(found: torch.Tensor, truth: torch.Tensor) -> float:
    """Length of the difference, relative to the truth's."""
    return float((found - truth).norm() / truth.norm().clamp(min=1e-12))


def judged(
    found: Found, what: str, precision: str, errors: dict[str, tuple[float, float]]
) -> dict[str, object]:
    """Check the worst output or statistic and the worst gradient; a row of the table."""
    row: dict[str, object] = {"case": what}
    floors = dict(zip(("values", "gradients"), FLOORS[precision], strict=True))
    for kind, floor in floors.items():
        some = {
            name: pair
            for name, pair in errors.items()
            if name.endswith("gradient") == (kind == "gradients")
        }
        # The one that comes nearest to its own limit, or passes it by most.
        worst = max(some, key=lambda name: some[name][0] - 2 * some[name][1])
        own, theirs = some[worst]
        found.check(f"{what}: {worst}", own, 2 * theirs + floor)
        row |= {kind: worst, f"{kind}, fused": own, f"{kind}, plain": theirs}
    return row


def large(layout: str, setting: Setting, found: Found) -> None:
    """Maps of over 2^31 elements: the last images and the statistics, where an index overflows."""
    free = torch.cuda.mem_get_info(setting.device)[0] / 2**30
    if free < LARGE_GIB:
        found.skipped.append(f"large tensors, {layout}: {free:.0f} of {LARGE_GIB:.0f} GiB are free")
        return
    memory = LAYOUTS[layout]
    plain = LARGE.block().to(setting.device, torch.bfloat16).to(memory_format=memory)
    x = torch.randn(
        LARGE.batch, LARGE.channels, *LARGE.sides, device=setting.device, dtype=torch.bfloat16
    ).contiguous(memory_format=memory)
    what = f"{LARGE}, bf16, {layout}"
    with torch.no_grad():
        made = fuse(copy.deepcopy(plain)).train()
        made(x)
        splits = plain.conv(x)
        assert splits.numel() > LARGE_ELEMENTS
        moments = torch.stack([torch.stack(torch.var_mean(s.float())) for s in splits.unbind(1)])
        del splits
    kept = plain.bn0.momentum or 0.0
    for name, before, now, of_batch in (
        ("bn0.running_var", plain.bn0.running_var, made.bn0.running_var, moments[:, 0]),
        ("bn0.running_mean", plain.bn0.running_mean, made.bn0.running_mean, moments[:, 1]),
    ):
        truth = before.double() * (1 - kept) + of_batch.double() * kept
        found.check(f"{what}, training: {name}", apart(now.double(), truth), FLOORS["bf16"][0])
    # In eval mode an image does not know of the others: the last ones alone are the truth.
    last = x[-2:].clone(memory_format=memory)
    gradient = torch.randn_like(last)
    made = fuse(copy.deepcopy(plain)).eval()
    own = x.requires_grad_()
    out = made(own)
    pull = torch.zeros_like(out)
    pull[-2:] = gradient
    out.backward(pull)
    exact = everything(copy.deepcopy(plain).eval().double(), last.double(), gradient, False)
    theirs = everything(copy.deepcopy(plain).eval(), last, gradient, False)
    assert own.grad is not None
    ours = {"output": out[-2:].detach().double(), "input gradient": own.grad[-2:].double()}
    pairs = {
        name: (apart(tensor, exact[name]), apart(theirs[name], exact[name]))
        for name, tensor in ours.items()
    }
    judged(found, f"{what}, eval", "bf16", pairs)


@float32_products("fp32")
def compiled(setting: Setting, found: Found) -> None:
    """Whole networks, compiled in one graph: any break in it raises; outputs as without."""
    model, side, batch = ("small", 8, 4) if setting.small else ("resnest50_fast", 224, 8)
    backend = "inductor" if setting.cuda and not setting.small else "aot_eager"
    channels = 1 if setting.small else 3
    device = setting.device
    found.notes.append(
        f"`torch.compile(fullgraph=True, backend={backend!r})`, {model}, {batch} images of {side} "
        "px, 2s2x40d; fullgraph raises where a graph breaks. Errors are the largest difference of "
        "logits from eager ones, in standard deviations of them: float32 may differ by 1e-3 (other "
        "algorithms, sums in another order), bfloat16 by 0.3, since 50 layers of roundings to 8 "
        "bits leave 2 to 3 % and the largest of thousands is four to five times that."
    )
    config = section(ModelConfig, model)
    made = networks(Variant.parse("2s2x40d"), config, 10, channels)["ours"].to(device)
    x = torch.randn(batch, channels, side, side, device=device)
    with torch.no_grad():
        quick = fast(copy.deepcopy(made).eval(), x)[0]
    cases = {
        "inference, plain form, float32": (copy.deepcopy(made).eval(), False, 1e-3),
        "inference, fast form, float32": (quick, False, 1e-3),
        "training, fused form, autocast": (fuse(copy.deepcopy(made)).train(), True, 0.3),
    }
    rows = []
    for what, (network, training, limit) in cases.items():
        with found.case(what, setting, seconds=30 if backend == "inductor" else 0) as go:
            if go:
                error = through_compiler(network, x, backend, training)
                found.check(what, error, limit)
                rows.append({"case": what, "backend": backend, "error, sd": error})
        torch.compiler.reset()
    found.table(rows)


def through_compiler(network: nn.Module, x: torch.Tensor, backend: str, training: bool) -> float:
    """Largest difference of logits, of training after a backward pass, in standard deviations."""
    other = torch.compile(copy.deepcopy(network), fullgraph=True, backend=backend)
    outs = []
    for each in (network, other):
        with (
            torch.set_grad_enabled(training),
            torch.autocast(x.device.type, torch.bfloat16, enabled=training),
        ):
            out = each(x)
        if training:
            out.float().square().mean().backward()
        outs.append(out.detach().float())
    if training:
        pairs = zip(network.parameters(), other.parameters(), strict=True)
        assert all((a.grad is None) == (b.grad is None) for a, b in pairs)
    return float((outs[1] - outs[0]).abs().max() / outs[0].std())
