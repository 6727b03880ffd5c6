"""Rows that a sweep's file names: each one's change from the row before, with its interval."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sample_sweeps import doubtful, make_sweep, make_trial

from resnest_search.report.html import write_report
from resnest_search.report.rows import row_cells, row_records
from resnest_search.report.table import rows_csv
from resnest_search.study.answers import unpack
from resnest_search.study.record import PRUNED, Row, Sweep
from resnest_search.study.rows import compared_rows

ROWS = (
    Row("first", "hash of 2s1x40d", {"accuracy": 0.8064}),
    Row("second", "hash of 4s1x64d", {"accuracy": 0.8090}),
    Row("third", "hash of 0s2x40d", {}),
    Row("fourth", "nowhere", {"accuracy": 0.79}),
)


def with_rows() -> Sweep:
    return replace(doubtful(), rows=ROWS)


def test_a_change_is_to_the_row_before_with_the_interval_of_a_paired_bootstrap() -> None:
    # without further seeds, so that images are the only noise
    sweep = with_rows()
    sweep = replace(sweep, trials=tuple(trial for trial in sweep.trials if trial.seed == 0))
    first, second, third, fourth = compared_rows(sweep)
    assert (first.change, first.interval) == (None, None)
    assert second.change == pytest.approx(0.970 - 0.960)
    assert third.change == pytest.approx(0.940 - 0.970)
    assert (fourth.trial, fourth.change) == (None, None)
    sheets = [unpack(row.trial.curve[-1].correct, 500).right for row in (first, second)]
    picked = np.random.default_rng(5).integers(500, size=(4000, 500))
    gaps = (sheets[1].astype(float) - sheets[0])[picked].mean(axis=1)
    assert second.interval == pytest.approx(np.percentile(gaps, [2.5, 97.5]), abs=0.003)
    apart = np.hypot(*(np.sqrt(0.96 * 0.04 / 500),) * 2) * 2 * 1.96  # of two other sets of images
    assert second.interval[1] - second.interval[0] < apart


def test_of_what_did_not_end_there_is_no_change() -> None:
    trials = [make_trial(0, "1s1x64d"), make_trial(1, "2s1x64d", PRUNED)]
    rows = tuple(Row(t.variant, t.candidate, {}) for t in trials)
    _, second = compared_rows(replace(make_sweep(trials), rows=rows))
    assert second.trial.state == PRUNED
    assert (second.change, second.interval) == (None, None)


def test_they_stand_in_their_order_beside_what_was_published(tmp_path: Path) -> None:
    sweep = with_rows()
    columns, cells = row_cells(sweep)
    heads = [column.head for column in columns]
    assert [row[0] for row in cells] == ["first", "second", "third", "fourth"]
    place = heads.index("published acc %")
    assert [row[place] for row in cells] == ["80.64", "80.90", "–", "79.00"]
    assert [row[place + 1] for row in cells] == ["", "+0.26", "", ""]
    change = cells[1][heads.index("change")]
    low, high = compared_rows(sweep)[1].interval
    assert change == f"+1.00 ± {50 * (high - low):.2f}"
    write_report(sweep, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Row by row" in page
    assert "<td>second</td><td>4s1x64d</td>" in page
    assert page.index("<td>first</td>") < page.index("<td>fourth</td>")


def test_csv_has_them_raw(tmp_path: Path) -> None:
    sweep = with_rows()
    rows_csv(sweep, tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open() as file:
        found = list(csv.DictReader(file))
    assert [row["name"] for row in found] == ["first", "second", "third", "fourth"]
    assert float(found[1]["published_accuracy"]) == 0.8090
    low, change, high = (float(found[1][key]) for key in ("change_low", "change", "change_high"))
    assert low < change < high
    assert found[3]["state"] == "not begun"
    assert row_records(sweep)[0] == list(found[0])
    rows_csv(make_sweep([]), tmp_path / "none.csv")
    assert not (tmp_path / "none.csv").exists()
