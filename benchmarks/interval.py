"""Whether a latency's interval holds: networks measured again in new processes.

    python benchmarks/interval.py                                   # digits: 8 px, model=tiny
    python benchmarks/interval.py --model resnest50_fast --data imagenet

Measures the twelve networks of ``sweep=radix_card`` in a process of their own, as a sweep does,
and then again in further ones, one after another. Of each network the first process claims an
interval in which 95 of 100 further measurings fall; printed is how many did, and, of more pairs,
how many fall into the interval of any other process. The deviation between processes stands beside
that which the draws of one let expect: where it is well above, the claim does not hold. Prints
Markdown, and writes it where ``--out`` says. The machine should do nothing else.
"""

from __future__ import annotations

import argparse
import itertools
import math
import shlex
import sys
import time
from pathlib import Path

import numpy as np
from shipped import VARIANTS, request, section

from resnest_search.configuration.schema import MeasureConfig
from resnest_search.cost import CostRequest, Costs
from resnest_search.execution.measuring import locally
from resnest_search.metrics import rounds_error


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", nargs="+", default=VARIANTS)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--data", default="digits", help="decides image size and classes")
    parser.add_argument("--measure", default="eager")
    parser.add_argument("--device", choices=("cpu", "cuda"), default=None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--half-width", type=float, help="percent; the mode's where it is not given"
    )
    parser.add_argument(
        "--time-limit", type=float, help="seconds; the mode's where it is not given"
    )
    parser.add_argument("--processes", type=int, default=11, help="the first one claims")
    parser.add_argument("--out", type=Path, help="a file for the page")
    return parser.parse_args()


def requests_of(asked: argparse.Namespace) -> list[CostRequest]:
    """What each process measures."""
    given = {"half_width": asked.half_width, "time_limit_s": asked.time_limit}
    given = {name: value for name, value in given.items() if value is not None}
    # Out of the cache each process would find what the first one measured.
    own = {"device": asked.device, "threads": asked.threads, "cache": "none", **given}
    mode = section(MeasureConfig, asked.measure, **own)
    return [request(variant, mode, asked.model, asked.data) for variant in asked.variants]


def inside(claim: Costs, other: Costs) -> bool:
    """Whether the other latency falls into the claimed interval."""
    apart = math.log(other.values["latency_ms"] / claim.values["latency_ms"])
    return abs(apart) <= math.log1p(claim.half_width or math.inf)


def expected(found: list[Costs]) -> float:
    """Deviation of the log latency between processes that the rounds of one let expect."""
    errors = [rounds_error(costs.deviations["latency_ms"], costs.rounds) for costs in found]
    return float(np.sqrt(np.mean(np.square(errors))))


def table(variants: list[str], runs: list[list[Costs]], seconds: list[float]) -> str:
    """Markdown: what was claimed, and what came of it; ``runs`` are [process][network]."""
    first, networks = runs[0][0], list(zip(*runs, strict=True))
    pairs = [pair for network in networks for pair in itertools.permutations(network, 2)]
    claimed = [inside(claim, other) for claim, *others in networks for other in others]
    versions = ", ".join(f"{name} {version}" for name, version in first.versions.items())
    busy = [costs.busy_percent for run in runs for costs in run if costs.busy_percent is not None]
    lines = [
        "# Intervals of latencies, and new processes",
        "",
        f"- device: {first.device}; others' load: up to {max(busy, default=math.nan):.0f} %",
        f"- mode: {first.mode}",
        f"- processes: {len(runs)}, {min(seconds):.0f} to {max(seconds):.0f} s each",
        f"- versions: {versions}",
        f"- command: `python {shlex.join(['benchmarks/interval.py', *sys.argv[1:]])}`",
        f"- **into the interval of the first process fell {np.mean(claimed):.1%}** of "
        f"{len(claimed)} latencies of the others; into that of any other process "
        f"{np.mean([inside(*pair) for pair in pairs]):.1%} of {len(pairs)}",
        "",
        "| network | ms | ± % claimed | draws | fell into it | ± % of all, least to most | "
        "between processes, % | draws let expect, % |",
        "| --- |" + " ---: |" * 7,
    ]
    for variant, network in zip(variants, networks, strict=True):
        claim, *others = network
        halves = [100 * (costs.half_width or math.inf) for costs in network]
        spread = np.std([math.log(c.values["latency_ms"]) for c in network], ddof=1)
        lines.append(
            f"| {variant} | {claim.values['latency_ms']:.3f} | {halves[0]:.1f} | {claim.rounds} | "
            f"{sum(inside(claim, other) for other in others)} of {len(others)} | "
            f"{min(halves):.1f} to {max(halves):.1f} | {100 * spread:.2f} | "
            f"{100 * expected(list(network)):.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print and keep."""
    asked = arguments()
    requests = requests_of(asked)
    runs, seconds = [], []
    for number in range(asked.processes):
        begun = time.monotonic()
        found = locally(requests)
        seconds.append(time.monotonic() - begun)
        for each, costs in zip(requests, found, strict=True):
            if isinstance(costs, str):
                raise SystemExit(f"{each.variant}: {costs}")
        runs.append([costs for costs in found if isinstance(costs, Costs)])
        print(f"\r{number + 1}/{asked.processes}", end="", file=sys.stderr)
    print(file=sys.stderr)
    text = table([each.variant for each in requests], runs, seconds)
    print(text)
    if asked.out:
        asked.out.write_text(text)


if __name__ == "__main__":
    main()
