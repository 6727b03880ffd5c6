"""The paper's radix and cardinality ablation, with this machine's costs beside its figures.

    python benchmarks/paper_table.py                          # latency of 1 image, 224 px
    python benchmarks/paper_table.py --measure throughput --batch 32 --device cuda
    python benchmarks/paper_table.py --counts                 # what needs no measuring, in a second

Parameters and multiply-accumulates are counted, latency and memory measured as a sweep does, of
ResNeSt-50-fast with 1,000 classes. The paper's figures stand in ``benchmarks/tables/paper``: its
own table (arXiv 2004.08955, Table 2: top-1 and images a second), and both ports of the authors'
repository (ablation.md: PyTorch and Gluon). Prints Markdown, with Kendall's tau between the paper's
images a second and this machine's.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from scipy.stats import kendalltau
from shipped import request, section

from resnest_search.configuration.schema import MeasureConfig
from resnest_search.cost import Costs, measure_all
from resnest_search.cost.account import MIB, account
from resnest_search.variant import Variant

TABLES = Path(__file__).parent / "tables" / "paper"
# In the authors' repository; the paper itself and timm give these settings no counts.
_PUBLISHED = {
    "1s1x64d": (26.3, 4.34),
    "2s1x64d": (27.5, 4.34),
    "4s1x64d": (31.9, 4.35),
    "1s2x40d": (25.9, 4.38),
    "2s2x40d": (26.9, 4.38),
    "4s2x40d": (30.4, 4.41),
    "1s4x24d": (25.7, 4.42),
}


class Row(NamedTuple):
    """A setting as published.

    Attributes:
        variant: as ``2s2x40d``.
        accuracy: the paper's top-1, a fraction; None where only the ports have it.
        ports: top-1 of PyTorch and of Gluon, fractions; empty where the paper alone has it.
        images_per_s: the paper's; its GPU, batch and precision are not stated. None: not there.
    """

    variant: str
    accuracy: float | None
    ports: tuple[float, ...]
    images_per_s: float | None


def published() -> list[Row]:
    """Every setting of the paper's table and of the ports, by cardinality, then radix."""
    paper = {variant: rows[0] for variant, rows in _rows("radix_card").items()}
    ports = _rows("ports")
    names = sorted({*paper, *ports}, key=lambda n: (Variant.parse(n).cardinality, n))
    return [
        Row(
            name,
            float(paper[name]["accuracy"]) if name in paper else None,
            tuple(float(row["accuracy"]) for row in ports.get(name, ())),
            float(paper[name]["images_per_s"]) if name in paper else None,
        )
        for name in names
    ]


def _rows(name: str) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    with (TABLES / f"{name}.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            variant = Variant(int(row["radix"]), int(row["cardinality"]), int(row["width"]))
            found.setdefault(str(variant), []).append(row)
    return found


def counts(rows: Sequence[Row]) -> list[dict[str, float]]:
    """Parameters in millions, multiply-accumulates in billions, MiB of a pass of one image."""
    found = []
    for row in rows:
        asked = request(row.variant, section(MeasureConfig, "eager"))
        counted = account(asked.make, inference=asked.inference_shape)
        found.append(
            {
                "parameters_m": counted.parameters / 1e6,
                "gmacs": counted.macs / 1e9,
                "memory_mib": counted.inference_bytes / MIB,
            }
        )
    return found


def page(rows: Sequence[Row], costs: Sequence[dict[str, float]], facts: Sequence[str]) -> str:
    """Markdown: facts, a row a setting, and the rank correlation where images were timed.

    Args:
        rows: as published.
        costs: of each, by names of metrics; without ``latency_ms`` where nothing was timed.
        facts: machine, mode, versions and command, a line each.
    """
    lines = ["# ResNeSt-50-fast: radix against cardinality", "", *(f"- {f}" for f in facts), ""]
    heads = [
        "setting",
        "paper top-1",
        "ports: PyTorch / Gluon",
        "paper img/s",
        "authors' #P / GMACs",
    ]
    heads += ["#P, M", "GMACs", "memory, MiB", "latency, ms", "img/s"]
    lines += [f"| {' | '.join(heads)} |", "| --- |" + " ---: |" * (len(heads) - 1)]
    for row, cost in zip(rows, costs, strict=True):
        ports = " / ".join(f"{100 * accuracy:.2f}" for accuracy in row.ports) or "–"
        counted = _PUBLISHED.get(row.variant)
        cells = [
            row.variant,
            "–" if row.accuracy is None else f"{100 * row.accuracy:.2f}",
            ports,
            "–" if row.images_per_s is None else f"{row.images_per_s:.1f}",
            f"{counted[0]:.1f} / {counted[1]:.2f}" if counted else "–",
            f"{cost['parameters_m']:.2f}",
            f"{cost['gmacs']:.3f}",
            f"{cost['memory_mib']:.0f}",
            f"{cost['latency_ms']:.1f}" if "latency_ms" in cost else "–",
            f"{cost['images_per_s']:.1f}" if "images_per_s" in cost else "–",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_agreement(rows, costs)]) + "\n"


def _agreement(rows: Sequence[Row], costs: Sequence[dict[str, float]]) -> list[str]:
    pairs = [
        (row.images_per_s, cost["images_per_s"])
        for row, cost in zip(rows, costs, strict=True)
        if row.images_per_s is not None and "images_per_s" in cost
    ]
    if not pairs:
        return []
    tau = float(kendalltau(*zip(*pairs, strict=True)).statistic)
    return [f"Kendall's tau of both columns of img/s over {len(pairs)}: {tau:.2f}."]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--counts", action="store_true", help="count, and time nothing")
    parser.add_argument("--measure", default="eager", help="a mode of conf/measure")
    parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=60)
    asked = parser.parse_args()
    if min(asked.batch, asked.repeats) < 1:
        parser.error("--batch and --repeats: valid: at least 1")
    return asked


def main() -> None:
    """Count, measure, print."""
    asked, rows = arguments(), published()
    command = f"command: `python {shlex.join(['benchmarks/paper_table.py', *sys.argv[1:]])}`"
    if asked.counts:
        print(page(rows, counts(rows), [command]))
        return
    own = {"batch": asked.batch, "repeats": asked.repeats, "device": asked.device}
    mode = section(MeasureConfig, asked.measure, **own)
    found = measure_all(
        [request(row.variant, mode) for row in rows],
        progress=lambda done, total: print(f"\r{done}/{total}", end="", file=sys.stderr),
    )
    print(file=sys.stderr)
    failed = [costs for costs in found if not isinstance(costs, Costs)]
    if failed:
        sys.exit(f"paper_table.py: not measured: {failed[0]}")
    measured = [costs for costs in found if isinstance(costs, Costs)]
    first = measured[0]
    busy = max((costs.busy_percent or 0.0) for costs in measured)
    facts = [
        f"{first.device}: {first.mode}; {first.passes} passes; others' load at most {busy:.0f} %",
        "versions: " + ", ".join(f"{name} {version}" for name, version in first.versions.items()),
        command,
    ]
    print(page(rows, [costs.values for costs in measured], facts))


if __name__ == "__main__":
    main()
