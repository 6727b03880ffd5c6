"""Tables of others become this project's, and what is said of a table holds for any."""

from __future__ import annotations

import csv
import importlib.util
import pickle
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from resnest_search.simulation.table import Table

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "tables"


def program(name: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(f"tables_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CONVERT, DESCRIBE = program("convert"), program("describe")


def converted(
    kind: str, file: Path, folder: Path, patch: pytest.MonkeyPatch, name: str = ""
) -> Table:
    words = ["convert.py", kind, str(file), "--out", str(folder / "out")]
    patch.setattr(sys, "argv", words)
    CONVERT.main()
    return Table.read(folder / "out" / f"{name or kind}.csv")


def published(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def naap(path: Path, count: int = 2) -> Path:
    """Networks whose accuracy rises by 0.001 an epoch, and whose last one is an outlier."""
    rows = []
    for number in range(1, count + 1):
        row = {"ModelId": number, "IsTest": 0, "NumParams": 2566, "NumMACs": 231600 * number}
        row |= {"NumLayers": 3, "NumStages": 2, "FirstLayerWidth": 12, "LastLayerWidth": 16}
        for epoch in range(1, 91):
            accuracy = 0.5 + epoch / 1000 + (0.1 if epoch == 90 else 0)
            row |= {f"e{epoch}LossMean": 2 - epoch / 100, f"e{epoch}LossMedian": 9}
            row |= {f"e{epoch}Accuracy": round(accuracy, 4)}
        rows.append(row)
    return published(path, rows)


def test_naap440(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = converted("naap440", naap(tmp_path / "naap440.csv"), tmp_path, monkeypatch)
    one, two = table.candidates
    assert one.name == "3/2/12/16/1"
    assert table.costs(two) == {"gmacs": pytest.approx(0.0004632), "parameters_m": 0.002566}
    curve = table.curve(one, 0)
    assert len(curve) == 90
    assert (curve[0].accuracy, curve[-1].accuracy) == (0.501, 0.69)
    assert curve[9].train_loss == pytest.approx(1.9)
    assert [e.seconds for e in table.curve(two, 0)] == [2 * e.seconds for e in curve]
    # Epochs 86 to 90: 0.588 on average, and a fifth of the outlier.
    assert table.true_accuracy(one) == pytest.approx(0.608)


def test_deep_resnets_begin_after_the_untrained_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"num_params": 282804 + i, "lr": 0.001 / (i + 1)}
        | {f"acc_{epoch}": 0.1 * epoch for epoch in range(4)}
        for i in range(2)
    ]
    file = published(tmp_path / "deep.csv", rows)
    table = converted("deep_resnets", file, tmp_path, monkeypatch)
    first = table.candidates[0]
    assert dict(first.parameters) == {"lr": 0.001, "num_params": 282804}
    assert table.costs(first) == {"parameters_m": 0.282804}
    assert [e.accuracy for e in table.curve(first, 0)] == pytest.approx([0.1, 0.2, 0.3])


def network(*accuracies: float) -> dict[str, list[float]]:
    count = len(accuracies)
    fixed = {"latency": 0.0125, "model_size": 0.129, "train_time": 1444.25}
    return {"val_acc": list(accuracies)} | {name: [v] * count for name, v in fixed.items()}


def test_nasbench201_has_two_seeds_and_the_truth_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = {"012341": network(80.0, 82.0, 84.0), "000000": network(10.0, 12.0)}
    file = tmp_path / "cifar10.pkl"
    file.write_bytes(pickle.dumps(networks))
    name = "nasbench201_cifar10"
    table = converted("nasbench201", file, tmp_path, monkeypatch, name)
    poor, good = table.candidates
    assert [value for _, value in good.parameters] == [
        *("none", "skip", "conv1x1", "conv3x3", "pool3x3", "skip")
    ]
    assert table.seeds(poor) == table.seeds(good) == (0, 1)
    assert [table.curve(good, seed)[0].accuracy for seed in (0, 1)] == [0.80, 0.82]
    assert table.true_accuracy(good) == 0.82
    assert table.costs(good) == {"latency_ms": 12.5, "parameters_m": 0.129}
    assert table.curve(good, 0)[0].seconds == 1444.25


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("naap440", b"num_params,lr\n1,2\n"),
        ("deep_resnets", b"a\n1\n"),
        ("nasbench201", b"no pickle"),
        ("nasbench201", pickle.dumps([1])),
        *((kind, b"") for kind in ("naap440", "deep_resnets", "nasbench201")),
        ("nasbench201", pickle.dumps(Path("x"))),  # which would run code of its own
    ],
)
def test_other_files_are_refused_in_one_line(
    kind: str, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(SystemExit, match=rf"convert.py: .*file: is no {kind} as published: .*"):
        converted(kind, file, tmp_path, monkeypatch)
    assert not (tmp_path / "out").exists()


def test_a_table_of_others_is_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "own.csv"
    rows = [
        {"parameter:n": n, "cost:watts": n, "seed": 0, "epoch": epoch, "seconds": 30}
        | {"accuracy": early if epoch == 3 else final}
        for n, early, final in ((1, 0.1, 0.5), (2, 0.2, 0.7), (3, 0.3, 0.6), (4, 0.4, 0.8))
        for epoch in (1, 2, 3, 4)
    ]
    published(path, rows)
    monkeypatch.setattr(sys, "argv", ["describe.py", str(path)])
    DESCRIBE.main()
    cells = capsys.readouterr().out.splitlines()[-1].strip("| ").split(" | ")
    # Of the six pairs, epoch 3 has one the wrong way round: (5 - 1) / 6.
    wanted = ["own", "4 x 1 x 4", "50.00 to 80.00", "–", "1.00", "0.80", "0.67", "–"]
    assert cells == [*wanted, "3 of 4", "8"]
