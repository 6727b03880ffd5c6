"""What a search could reach that knew every end up to an error."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from informed import LEVELS, main, trainings
from search_peers.table import read_table
from search_peers.truth import Truth

TABLE = Path(__file__).resolve().parents[2] / "benchmarks" / "tables" / "cifar10.csv"


def test_without_an_error_it_is_about_the_oracle() -> None:
    """Which forgives noise where this one does not, so that it may need one more."""
    table = read_table(TABLE)
    truth = Truth(table)
    fractions = truth.fractions(truth.greedy())
    oracle = [next(n for n, f in enumerate(fractions, 1) if f >= level) for level in LEVELS]
    needed = trainings(table, truth, 0.0, seed=0)
    assert all(at_least <= found for at_least, found in zip(oracle, needed, strict=True))
    assert needed[0] <= oracle[0] + 2


def test_an_error_costs_trainings(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--table", str(TABLE), "--errors", "0", "20", "--draws", "3"])
    lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    none, large = ([float(cell) for cell in line] for line in lines)
    assert none[0] == 0
    assert large[0] == 20
    assert all(few < many for few, many in zip(none[1:], large[1:], strict=True))


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a\n1\n")
    with pytest.raises(SystemExit, match=r"informed\.py: "):
        main(["--table", str(tmp_path / "t.csv")])
