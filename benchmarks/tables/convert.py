"""Tables of others, as published, in this project's columns.

    python benchmarks/tables/convert.py naap440 naap440.csv --out FOLDER
    python benchmarks/tables/convert.py deep_resnets deep_resnets_cifar10.csv --out FOLDER
    python benchmarks/tables/convert.py nasbench201 cifar10.pkl --out FOLDER

Writes one CSV to FOLDER, which ``sweep=table trial.path=…`` replays and ``benchmarks/search.py
--table`` races. Where the files are from, and what became of which column, stands in README.md.
"""

from __future__ import annotations

import argparse
import csv
import io
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from resnest_search.files import write_atomically

Rows = Iterator[dict[str, Any]]

_ARCHITECTURE = ("NumLayers", "NumStages", "FirstLayerWidth", "LastLayerWidth", "ModelId")
_NAAP_EPOCHS, _NAAP_TRUTH = 90, 5  # of which the mean is the truth: one epoch swings by 1.7 points
_NASBENCH_SEEDS = 2  # that every network has
_OPERATIONS = ("none", "skip", "conv1x1", "conv3x3", "pool3x3")  # as the digits of a key name them


def main() -> None:
    """Convert one file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=CONVERTERS)
    parser.add_argument("file", type=Path, help="as published")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    asked = parser.parse_args()
    try:
        text = as_csv(CONVERTERS[asked.kind](asked.file))
    except Exception as error:  # whatever another or a damaged file makes of it
        sys.exit(f"convert.py: {asked.file}: is no {asked.kind} as published: {error!r}")
    asked.out.mkdir(parents=True, exist_ok=True)
    name = asked.kind if asked.kind != "nasbench201" else f"nasbench201_{asked.file.stem}"
    write_atomically(asked.out / f"{name}.csv", text)


def naap440(path: Path) -> Rows:
    """440 small networks on CIFAR-10 (Hakim and Nahshon, 2022), one seed.

    An epoch's seconds are its MACs in millions: all of theirs took the same time on a large GPU,
    whatever the network.
    """
    for row in _rows(path):
        curve = [float(row[f"e{epoch}Accuracy"]) for epoch in range(1, _NAAP_EPOCHS + 1)]
        fixed: dict[str, Any] = {f"parameter:{name}": row[name] for name in _ARCHITECTURE}
        fixed["gmacs"] = f"{int(row['NumMACs']) / 1e9:.9f}"
        fixed["parameters_m"] = f"{int(row['NumParams']) / 1e6:.6f}"
        fixed["seconds"] = f"{int(row['NumMACs']) / 1e6:.6f}"
        fixed["true_accuracy"] = f"{sum(curve[-_NAAP_TRUTH:]) / _NAAP_TRUTH:.6f}"
        for epoch, accuracy in enumerate(curve, start=1):
            loss = row[f"e{epoch}LossMean"]
            yield fixed | {"seed": 0, "epoch": epoch, "accuracy": accuracy, "train_loss": loss}


def deep_resnets(path: Path) -> Rows:
    """486 networks of 39 layers on CIFAR-10 (Baker et al., 2018), one seed.

    Their size stands for the architecture, which is not published, and is the one cost. An epoch
    is priced at one second: a size says little of the operations where it is that of the widths.
    ``acc_0`` is of the untrained network and left out.
    """
    for row in _rows(path):
        size = int(row["num_params"])
        fixed = {
            "parameter:lr": row["lr"],
            "parameter:num_params": size,
            "parameters_m": f"{size / 1e6:.6f}",
            "seconds": 1,
        }
        epochs = sum(name.startswith("acc_") for name in row) - 1
        for epoch in range(1, epochs + 1):
            yield fixed | {"seed": 0, "epoch": epoch, "accuracy": row[f"acc_{epoch}"]}


def nasbench201(path: Path) -> Rows:
    """15,625 networks of NAS-Bench-201 (Dong and Yang, 2020), final values of two seeds.

    The file has no curves, so that all of a training is one epoch of the table, and its seconds
    are those of the whole training. About half of the networks have a third seed, which counts
    for the truth alone.
    """
    with path.open("rb") as file:
        networks = _Plain(file).load()
    for key, found in sorted(networks.items()):
        operations = (_OPERATIONS[int(digit)] for digit in key)
        fixed: dict[str, Any] = {f"parameter:op{i}": name for i, name in enumerate(operations)}
        fixed["latency_ms"] = f"{1000 * _mean(found['latency']):.4f}"
        fixed["parameters_m"] = f"{_mean(found['model_size']):.6f}"
        fixed["seconds"] = f"{_mean(found['train_time']):.3f}"
        fixed["true_accuracy"] = f"{_mean(found['val_acc']) / 100:.6f}"
        for seed, accuracy in enumerate(found["val_acc"][:_NASBENCH_SEEDS]):
            yield fixed | {"seed": seed, "epoch": 1, "accuracy": f"{accuracy / 100:.6f}"}


CONVERTERS: dict[str, Callable[[Path], Rows]] = {
    "naap440": naap440,
    "deep_resnets": deep_resnets,
    "nasbench201": nasbench201,
}


def as_csv(rows: Rows) -> str:
    """The table; its columns are those of the first row."""
    first = next(rows)
    file = io.StringIO()
    writer = csv.DictWriter(file, list(first), lineterminator="\n")
    writer.writeheader()
    writer.writerow(first)
    writer.writerows(rows)
    return file.getvalue()


class _Plain(pickle.Unpickler):
    """Reads a pickle of dictionaries, lists and numbers, and nothing that could be run."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        raise pickle.UnpicklingError(f"{module_name}.{global_name} in it")


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


if __name__ == "__main__":
    main()
