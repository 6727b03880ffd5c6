"""A front seen from another device: shares that can be worked out by hand."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEADS = ["val_top1", "throughput_x_img_s", "throughput_y_img_s"]


def ran(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "transfer.py", "--table", path, *words],
        capture_output=True,
        text=True,
        check=False,
    )


def table(path: Path, rows: list[list[object]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([HEADS, *rows])
    return path


def cells(out: str) -> dict[tuple[str, str], list[str]]:
    lines = [line.strip("| ").split(" | ") for line in out.splitlines() if line.startswith("| ")]
    return {(line[0], line[1]): line[2:] for line in lines[2:]}


def test_shares_are_those_found_by_hand(tmp_path: Path) -> None:
    """Milliseconds on x 1, 2, 3, 4 and on y 4, 3, 2, 1: the order is turned round."""
    accuracy, times = [60, 70, 80, 90], [1.0, 2.0, 3.0, 4.0]
    rows = [[a, 1000 / x, 1000 / y] for a, x, y in zip(accuracy, times, times[::-1], strict=True)]
    rows += [["", 1000, 1000], [50, "", 1000]]  # not known everywhere
    done = ran(table(tmp_path / "t.csv", rows), "--trained", "2", "--seeds", "3")
    assert done.returncode == 0, done.stderr
    assert "- 4 networks, known on all devices" in done.stdout
    found = cells(done.stdout)
    # All four are x's front, of which the two fastest are trained. On y the last dominates all, and
    # of the two the second is both more accurate and faster: it has (0.1 + 1/3)^2 of 1.1^2.
    share = 100 * (0.1 + 1 / 3) ** 2 / 1.1**2
    assert found["x", "y"][:3] == ["-1.00", "2", "1"]
    assert [float(cell) for cell in found["x", "y"][3:5]] == [round(share, 1)] * 2
    assert found["y", "x"][1] == "1"  # y's front is one, and then what comes second


def test_what_is_no_table_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    for path in (tmp_path / "t.csv", tmp_path / "none.csv"):
        done = ran(path)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert path.name in done.stderr
