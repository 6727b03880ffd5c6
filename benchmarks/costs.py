"""Costs of a sweep's networks on the device at hand.

    python benchmarks/costs.py                        # radix_card of resnest50_fast at 224 px
    python benchmarks/costs.py --model small --data digits --device cpu

Prints a Markdown table with device, versions, number of passes and command, and writes it to
``benchmarks/results/costs-<device>-<model>.md``. Takes a few minutes on one GPU, more on a CPU.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from pathlib import Path

import yaml

from resnest_search.configuration.schema import DataConfig, MeasureConfig, ModelConfig
from resnest_search.configuration.shipped import shipped_folder
from resnest_search.cost import CostRequest, Costs, measure_all
from resnest_search.metrics import COSTS, METRICS
from resnest_search.space import Space

RESULTS = Path(__file__).with_name("results")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sweep", default="radix_card")
    parser.add_argument("--model", default="resnest50_fast")
    parser.add_argument("--data", default="imagenet", help="decides image size and classes")
    parser.add_argument("--device", choices=("cpu", "cuda"), default=None)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--train-batch", type=int, default=32)
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--repeats", type=int, default=150)
    return parser.parse_args()


def load(group: str, name: str) -> dict[str, object]:
    """One shipped YAML file of a config group."""
    loaded: dict[str, object] = yaml.safe_load((shipped_folder(group) / f"{name}.yaml").read_text())
    return loaded


def main() -> None:
    """Measure, print and keep."""
    asked = arguments()
    model = ModelConfig(**load("conf", f"model/{asked.model}"))  # type: ignore[arg-type]
    data = DataConfig(**load("conf", f"data/{asked.data}"))  # type: ignore[arg-type]
    search: dict[str, object] = load("sweeps", asked.sweep)["search"]  # type: ignore[assignment]
    space = Space(search["space"], model)  # type: ignore[arg-type]
    mode = MeasureConfig(
        batch=asked.batch,
        precision=asked.precision,
        channels_last=asked.channels_last,
        compile=asked.compile,
        repeats=asked.repeats,
        device=asked.device,
    )
    requests = [
        CostRequest(
            variant=str(candidate.variant),
            model=model,
            channels=data.channels,
            classes=data.classes or 1000,
            image_size=data.image_size,
            measure=mode,
            train_batch=asked.train_batch,
            train_precision=asked.precision,
        )
        for candidate in space.networks
    ]
    found = measure_all(requests, progress=_progress)
    print(file=sys.stderr)
    text = table(requests, found, asked.model)
    print(text)
    device = next((costs.device for costs in found if isinstance(costs, Costs)), "none")
    RESULTS.mkdir(exist_ok=True)
    slug = re.sub(r"[^A-Za-z0-9]+", "-", device).strip("-").lower()
    (RESULTS / f"costs-{slug}-{asked.model}.md").write_text(text)


def table(requests: list[CostRequest], found: list[Costs | str], model: str) -> str:
    """Markdown: where and how, then a row for each network."""
    lines = [f"# Costs of {model}", ""]
    first = next((costs for costs in found if isinstance(costs, Costs)), None)
    if first is not None:
        versions = ", ".join(f"{name} {version}" for name, version in first.versions.items())
        busy = "unknown" if first.busy_percent is None else f"{first.busy_percent:.0f} %"
        lines += [
            f"- device: {first.device}; others' load meanwhile: {busy}",
            f"- mode: {first.mode}; n = {first.passes} passes",
            f"- training step: batch {requests[0].train_batch}, {requests[0].train_precision}",
            f"- versions: {versions}",
            f"- command: `python {shlex.join(['benchmarks/costs.py', *sys.argv[1:]])}`",
            "",
        ]
    lines.append("| variant | " + " | ".join(METRICS[name].title for name in COSTS) + " |")
    lines.append("| --- |" + " ---: |" * len(COSTS))
    for request, costs in zip(requests, found, strict=True):
        if isinstance(costs, str):
            lines.append(f"| {request.variant} | {costs} |")
            continue
        values = [METRICS[name].show(costs.values[name]) for name in COSTS]
        lines.append(f"| {request.variant} | " + " | ".join(values) + " |")
    return "\n".join(lines) + "\n"


def _progress(done: int, total: int) -> None:
    print(f"\r{done}/{total}", end="", file=sys.stderr)


if __name__ == "__main__":
    main()
