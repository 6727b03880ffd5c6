"""Costs of the twelve variants in several modes, what the allocator gave, and two clocks."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable

import shipped
import torch
from shipped import VARIANTS, section

from gpu_parts.found import TOO_LATE, Found, Setting
from resnest_search.configuration.schema import MeasureConfig
from resnest_search.cost import CostRequest, Costs, measure_all
from resnest_search.cost.account import MIB, account, sgd, train_step
from resnest_search.cost.latency import deploy, time_network
from resnest_search.cost.memory import cuda_inference, cuda_peak, cuda_training
from resnest_search.cost.precision import as_in_training
from resnest_search.metrics import COSTS

__all__ = ["allocator", "compiled_costs", "costs", "events", "graphs"]


def request(setting: Setting, variant: str, measure: MeasureConfig) -> CostRequest:
    """ResNeSt-50-fast at ImageNet's size; in the small form the small network at the digits'."""
    model, data = ("small", "digits") if setting.small else ("resnest50_fast", "imagenet")
    precision = "bf16" if setting.cuda else "fp32"
    return shipped.request(variant, measure, model, data, train_batch=32, train_precision=precision)


def few(setting: Setting) -> dict[str, object]:
    """Passes of a measurement, and where."""
    passes = {"repeats": 6, "warmup": 1} if setting.small else {"repeats": 60}
    # No further rounds, however sure a latency is: the part has so much time.
    return {"device": str(setting.device), "half_width": None, **passes}


def costs(setting: Setting, found: Found) -> None:
    """Latency and memory of the twelve variants: eager, in batches, on a GPU in the fast form."""
    taken = 0.0
    fast = ["fast"] if setting.device.type == "cuda" else []
    for name in ("eager", *fast, "throughput"):
        with found.case(name, setting, seconds=taken) as go:
            if go:
                begun = time.monotonic()
                measure = section(MeasureConfig, name, **few(setting))
                requests = [request(setting, variant, measure) for variant in VARIANTS]
                told(found, name, VARIANTS, measure_all(requests))
                taken = time.monotonic() - begun


def compiled_costs(setting: Setting, found: Found) -> None:
    """The same of compiled networks, as many as there is time for."""
    taken = 0.0
    measure = section(MeasureConfig, "compiled", **few(setting))
    for done, variant in enumerate(VARIANTS):
        if setting.left() < 1.2 * taken:
            left = ", ".join(VARIANTS[done:])
            found.skipped.append(f"compiled, {left}: {TOO_LATE}")
            return
        with found.case(f"compiled, {variant}", setting) as go:
            if go:
                begun = time.monotonic()
                again = measure_all([request(setting, variant, measure)], rounds=1)
                told(found, "compiled", [variant], again)
                taken = time.monotonic() - begun


def told(found: Found, name: str, variants: list[str], results: list[Costs | str]) -> None:
    """Rows of one mode; a network that could not be measured fails alone."""
    rows = []
    for variant, result in zip(variants, results, strict=True):
        if isinstance(result, str):
            found.failed.append(f"{name}, {variant}: {result}")
            continue
        rows.append(
            {"variant": variant, "mode": name}
            | {cost: result.values[cost] for cost in COSTS}
            | {"passes": result.passes, "busy %": result.busy_percent, "form": result.form}
        )
        note = f"{name}: {result.mode}; training step: {result.train_mode}"
        if note not in found.notes:
            found.notes.append(note)
    found.table(rows)


def allocator(setting: Setting, found: Found) -> None:
    """Peak memory that torch's allocator gave, beside the account of live tensors."""
    found.notes.append(
        "The plain form must take at least 0.95 of its account, since what is alive was given "
        "(kernels of CUDA keep a little less for the backward pass than those of a CPU), and at "
        "most 1.5 of it and 256 MiB: blocks are rounded up, and cuDNN and cuBLAS work in memory "
        "that no tensor has, as much as the maps of a layer some times over. The fused form has no "
        "account of its own: it must take less than the plain one."
    )
    rows = []
    for variant, precision in itertools.product(
        ("0s1x64d", "2s1x64d", "4s2x40d"), ("fp32", "bf16")
    ):
        with found.case(f"{variant}, {precision}", setting, seconds=5) as go:
            if go:
                rows += given(setting, found, variant, precision)
    found.table(rows)


def given(setting: Setting, found: Found, variant: str, precision: str) -> list[dict[str, object]]:
    """Account and allocator of a pass and of a training step of one network."""
    measure = section(MeasureConfig, "throughput", device=str(setting.device), precision=precision)
    asked = request(setting, variant, measure)
    shape, step = asked.inference_shape, (64, *asked.training_shape[1:])
    paper = account(
        asked.make,
        inference=shape,
        training=step,
        precision=precision,
        training_precision=precision,
    )
    assert paper.training_bytes is not None
    plain = plain_training(asked.make, step, precision, setting.device)
    fused = cuda_training(asked.make, step, precision, False, setting.device)
    passed = cuda_inference(asked.make, shape, measure, setting.device, None)
    rows = []
    for what, counted, taken in (
        ("pass", paper.inference_bytes, passed),
        ("training step", paper.training_bytes, plain),
    ):
        name = f"{variant}, {precision}, {what}"
        found.check(f"{name}: account / allocator", counted / taken, 1 / 0.95)
        found.check(f"{name}: allocator, MiB", taken / MIB, 1.5 * counted / MIB + 256)
        row = {"case": name, "account, MiB": counted / MIB, "allocator, MiB": taken / MIB}
        rows.append(row | {"fused, MiB": fused / MIB if what == "training step" else None})
    if variant[0] != "0":  # radix 0 has nothing to fuse
        found.check(f"{variant}, {precision}: fused / plain", fused / plain, 1.0)
    return rows


def plain_training(
    make: Callable[[], torch.nn.Module],
    shape: tuple[int, int, int, int],
    precision: str,
    device: torch.device,
) -> int:
    """`cuda_training` of the plain form."""

    def prepare() -> Callable[[], None]:
        network = make().to(device).train()
        images = torch.zeros(shape, device=device)
        optimizer = sgd(network.parameters())
        return lambda: train_step(network, optimizer, images, precision)

    return cuda_peak(device, precision, prepare)


def events(setting: Setting, found: Found) -> None:
    """Latency by this project's events beside `triton.testing.do_bench`."""
    found.notes.append(
        "Medians of a pass that keeps the GPU busy must agree within 3 %. Both empty the L2 cache "
        "before each pass; `do_bench` does not wait in between, so that the launches of a batch "
        "of 1 hide behind one another there: such a row is told, not judged."
    )
    rows = []
    for variant, batch in itertools.product(("0s1x64d", "2s1x64d"), (128, 1)):
        with found.case(f"{variant}, batch {batch}", setting, seconds=5) as go:
            if go:
                own, theirs = two_clocks(setting, variant, batch)
                off = abs(own / theirs - 1)
                if batch > 1:
                    found.check(f"{variant}, batch {batch}: |events / do_bench - 1|", off, 0.03)
                row = {"variant": variant, "batch": batch, "events, ms": own}
                rows.append(row | {"do_bench, ms": theirs, "off, %": 100 * off})
    found.table(rows)


def graphs(setting: Setting, found: Found) -> None:
    """Passes as a CUDA graph give what the network gives; latency with it, and with a cold L2."""
    found.notes.append(
        "A graph runs the kernels of the network: its logits must be those of the eager pass, to "
        "1e-3 of the largest in float32 products. Latencies are told, not judged."
    )
    rows = []
    for variant, batch in itertools.product(("0s1x64d", "2s2x40d"), (1, 32)):
        with found.case(f"{variant}, batch {batch}", setting, seconds=6) as go:
            if go:
                off, latencies = in_three_ways(setting, variant, batch)
                found.check(f"{variant}, batch {batch}: graph off eager", off, 1e-3)
                rows.append({"variant": variant, "batch": batch} | latencies)
    found.table(rows)


def in_three_ways(setting: Setting, variant: str, batch: int) -> tuple[float, dict[str, float]]:
    """How far logits of a graph are off the network's, and milliseconds eager, cold, as a graph."""
    ways = {"eager": {}, "cold L2": {"cold_l2": True}, "graph": {"cuda_graph": True}}
    modes = {
        name: section(
            MeasureConfig, "eager", device=str(setting.device), batch=batch, repeats=50, **way
        )
        for name, way in ways.items()
    }
    asked = request(setting, variant, modes["eager"])
    network = asked.make().to(setting.device)
    images = torch.randn(asked.inference_shape, device=setting.device)
    graph, _ = deploy(network, torch.zeros_like(images), modes["graph"])
    with as_in_training("fp32"), torch.inference_mode():
        own, of_graph = network(images), graph(images)
        off = float((own - of_graph).abs().max() / own.abs().max())
    latencies = {
        f"{name}, ms": time_network(network, images, mode).median_ms for name, mode in modes.items()
    }
    return off, latencies


def two_clocks(setting: Setting, variant: str, batch: int) -> tuple[float, float]:
    """Median milliseconds of a pass in bfloat16, by `time_network` and by `do_bench`."""
    from triton.testing import do_bench

    measure = section(
        MeasureConfig,
        "eager",
        device=str(setting.device),
        batch=batch,
        precision="bf16",
        channels_last=True,
        cold_l2=True,
        repeats=50,
    )
    asked = request(setting, variant, measure)
    network = asked.make().to(setting.device)
    images = torch.randn(asked.inference_shape, device=setting.device)
    own = time_network(network, images, measure).median_ms
    network, images = deploy(network, images, measure)
    with as_in_training(measure.precision), torch.inference_mode():
        theirs = do_bench(lambda: network(images), warmup=100, rep=1000, quantiles=[0.5])
    found = float(theirs[0] if isinstance(theirs, list | tuple) else theirs)
    return own, found if found > 0 else math.nan
