"""Latencies as a sweep times them, beside other clocks and beside ONNX Runtime.

    python benchmarks/agreement.py                              # 1 image, 224 px, 1 thread
    python benchmarks/agreement.py --device cuda --batch 32
    python benchmarks/agreement.py --model tiny --data digits --rounds 2 --repeats 10 --seconds 0.1

Networks of ``sweep=radix_card`` are visited in turn, round after round. A visit builds one, times
passes of it as `cost.latency.time_network` does, and then passes of the same weights in the same
memory by ``torch.utils.benchmark.Timer.blocked_autorange`` on as many threads; on a GPU by
``triton.testing.do_bench``, too, which empties the L2 cache before each pass, and is held against
ours with ``measure.cold_l2``; each round in the reverse order of the one before. On a CPU the
exported network follows in ONNX Runtime. A ratio is the median over rounds of that within a visit,
so that what drifts between visits is in neither. Prints Markdown, with Kendall's tau of each pair
of columns, and writes it where ``--out`` says. The machine should do nothing else.
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kendalltau
from shipped import VARIANTS, request, section
from torch.utils.benchmark import Timer

from resnest_search.configuration.schema import MeasureConfig
from resnest_search.cost import CostRequest
from resnest_search.cost.busy import CpuWatch, Load
from resnest_search.cost.latency import deploy, time_network
from resnest_search.cost.machine import device_name, resolve_device, versions
from resnest_search.cost.measure import mode_text
from resnest_search.cost.precision import as_in_training

OURS, TIMER, DO_BENCH, RUNTIME = "ours", "torch.utils.benchmark", "do_bench", "ONNX Runtime"
COLD = "ours with a cold L2"
AGAINST = {DO_BENCH: COLD}  # what another clock than OURS is the measure of
_Visit = dict[str, float]  # milliseconds by each clock


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--variants", nargs="+", default=VARIANTS)
    parser.add_argument("--model", default="resnest50_fast")
    parser.add_argument("--data", default="imagenet", help="decides image size and classes")
    parser.add_argument("--device", choices=("cpu", "cuda"), default=None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=20, help="our passes of each visit")
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="of each other clock in each visit"
    )
    parser.add_argument("--out", type=Path, help="a file for the page")
    asked = parser.parse_args()
    if min(asked.rounds, asked.repeats, asked.batch, asked.threads) < 1 or asked.seconds <= 0:
        parser.error("--rounds, --repeats, --batch, --threads: at least 1; --seconds: above 0")
    return asked


def visit(asked: CostRequest, device: torch.device, seconds: float, backwards: bool) -> _Visit:
    """One network, by each clock, in milliseconds of a pass.

    Args:
        asked: which, and the mode.
        device: where.
        seconds: of each clock but ours.
        backwards: the last clock first.
    """
    network, images = asked.make().to(device), torch.randn(asked.inference_shape, device=device)
    deployed, images = deploy(network, images, asked.measure)

    def ours() -> float:
        return time_network(network, images, asked.measure).median_ms

    def cold() -> float:
        return time_network(network, images, replace(asked.measure, cold_l2=True)).median_ms

    def timer() -> float:
        return by_timer(lambda: deployed(images), asked.measure, seconds)

    def bench() -> float:
        return by_do_bench(lambda: deployed(images), asked.measure, seconds)

    clocks: dict[str, Callable[[], float]] = {OURS: ours, TIMER: timer}
    if device.type == "cuda":
        clocks |= {COLD: cold, DO_BENCH: bench}
    found = {name: clocks[name]() for name in (reversed([*clocks]) if backwards else clocks)}
    if device.type == "cpu" and find_spec("onnxruntime") and find_spec("onnx"):
        exported = replace(asked.measure, form="onnxruntime")
        found[RUNTIME] = time_network(network, images, exported).median_ms
    return found


def by_timer(run: Callable[[], object], mode: MeasureConfig, seconds: float) -> float:
    """The median of blocks of passes on the mode's threads; on a GPU it waits for each block."""
    timer = Timer("run()", globals={"run": run}, num_threads=mode.threads)
    with as_in_training(mode.precision), torch.inference_mode():
        timer.timeit(max(1, mode.warmup))
        return 1e3 * float(timer.blocked_autorange(min_run_time=seconds).median)


def by_do_bench(run: Callable[[], object], mode: MeasureConfig, seconds: float) -> float:
    """The median of single passes, each between two events and after the L2 cache is emptied."""
    from triton.testing import do_bench

    with as_in_training(mode.precision), torch.inference_mode():
        found = do_bench(run, warmup=100, rep=int(1e3 * seconds), quantiles=[0.5])
    return float(found[0] if isinstance(found, list | tuple) else found)


def page(networks: Mapping[str, Sequence[_Visit]], facts: Sequence[str]) -> str:
    """Markdown: facts, a row a network, how far the clocks are apart, and rank correlations.

    Args:
        networks: by name, the visits of each, all by the same clocks.
        facts: machine, mode, versions and command, a line each.
    """
    clocks = [*next(iter(networks.values()))[0]]
    medians = {
        clock: [float(np.median([v[clock] for v in visits])) for visits in networks.values()]
        for clock in clocks
    }
    bases = {clock: AGAINST.get(clock, OURS) for clock in clocks if clock != OURS}
    ratios = {
        clock: [float(np.median([v[clock] / v[base] for v in v_s])) for v_s in networks.values()]
        for clock, base in bases.items()
    }
    heads = ["network", f"{OURS}, ms"]
    heads += [head for clock in ratios for head in (f"{clock}, ms", f"/ {bases[clock]}")]
    lines = ["# Latency by several clocks", "", *(f"- {fact}" for fact in facts), ""]
    lines += [f"| {' | '.join(heads)} |", "| --- |" + " ---: |" * (len(heads) - 1)]
    for row, name in enumerate(networks):
        cells = [name, f"{medians[OURS][row]:.3f}"]
        for clock, ratio in ratios.items():
            cells += [f"{medians[clock][row]:.3f}", f"{ratio[row]:.3f}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    for clock, ratio in ratios.items():
        apart = [100 * abs(one - 1) for one in ratio]
        lines.append(
            f"- **{clock} / {bases[clock]}**: {min(ratio):.3f} to {max(ratio):.3f}, median "
            f"{np.median(ratio):.3f}; apart by {np.median(apart):.1f} % in the median and "
            f"{max(apart):.1f} % at most; Kendall's tau of both orders of {len(ratio)} networks "
            f"{_tau(medians[bases[clock]], medians[clock])}."
        )
    return "\n".join(lines) + "\n"


def _tau(one: Sequence[float], other: Sequence[float]) -> str:
    tau = float(kendalltau(one, other).statistic)
    return "unknown" if math.isnan(tau) else f"{tau:.2f}"


def main() -> None:
    """Visit, print and keep."""
    asked = arguments()
    device = resolve_device(asked.device)
    own = {"batch": asked.batch, "threads": asked.threads, "repeats": asked.repeats, "warmup": 3}
    mode = section(MeasureConfig, "eager", device=device.type, **own)
    requests = {name: request(name, mode, asked.model, asked.data) for name in asked.variants}
    networks: dict[str, list[_Visit]] = {name: [] for name in requests}
    load, total = Load(), asked.rounds * len(requests)
    for turn in range(asked.rounds):
        for number, (name, each) in enumerate(requests.items(), 1):
            watch = CpuWatch()
            networks[name].append(visit(each, device, asked.seconds, backwards=turn % 2 == 1))
            load += watch.read()
            print(f"\r{turn * len(requests) + number}/{total}", end="", file=sys.stderr)
    print(file=sys.stderr)
    found = versions(device, mode) | ({} if device.type == "cuda" else _runtime_version())
    how = mode_text(requests[asked.variants[0]], device)
    busy = "unknown" if load.percent is None else f"{load.percent:.0f} %"
    text = page(
        networks,
        [
            f"{device_name(device)}: {asked.model}, {how}",
            f"{asked.rounds} rounds of {asked.repeats} passes of ours and {asked.seconds:g} s of "
            f"each other clock; others' load of the CPUs meanwhile {busy}",
            "versions: " + ", ".join(f"{name} {version}" for name, version in found.items()),
            f"command: `python {shlex.join(['benchmarks/agreement.py', *sys.argv[1:]])}`",
        ],
    )
    print(text)
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")


def _runtime_version() -> dict[str, str]:
    if not (find_spec("onnxruntime") and find_spec("onnx")):
        return {"onnxruntime": "not installed"}
    from resnest_search.cost.runtime import runtime_version

    return {"onnxruntime": runtime_version()}


if __name__ == "__main__":
    main()
