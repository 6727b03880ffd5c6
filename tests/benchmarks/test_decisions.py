"""Digests of decisions: what is digested is what a search of any table did."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from decisions import main, order

HEAD = "parameter:depth,parameter:op,cost:watts,seconds,seed,epoch,accuracy\n"
ROWS = ("3,pool,1.5,2,0.5", "5,conv,2.5,3,0.9", "7,conv,3.5,4,0.8")  # the last is off the front


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A table of its own parameters and its own cost, two epochs each."""
    lines = (
        f"{row.rpartition(',')[0]},0,{epoch},{float(row.rpartition(',')[2]) * epoch / 2}\n"
        for row in ROWS
        for epoch in (1, 2)
    )
    (tmp_path / "own.csv").write_text(HEAD + "".join(lines))
    return tmp_path / "own.csv"


def test_a_table_of_other_parameters_is_searched_by_its_own_objectives(path: Path) -> None:
    found = order((path, "grid+none", 1, 0))
    starts = [event for event in found[:-1] if event[2] == "starts"]
    assert [(at, number) for at, number, *_ in starts] == [(0.0, 0), (4.0, 1), (10.0, 2)]
    ends = [event for event in found[:-1] if event[1] == "COMPLETE"]
    assert [values for *_, values in ends] == [[0.5, 1.5], [0.9, 2.5], [0.8, 3.5]]
    assert found[-1] == [0, 1]


def test_a_digest_tells_seeds_apart_and_repeats(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--table", str(path), "--methods", "random+none", "--workers", "1", "--jobs", "1"]
    printed = []
    for _ in range(2):
        main([*words, "--seeds", "2"])
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    cells = printed[0].splitlines()[-1].strip("| ").split(" | ")
    assert cells[:3] == ["own", "random+none", "1"]
    assert cells[3] != cells[4]
