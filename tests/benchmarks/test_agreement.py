"""Latencies by several clocks: what the page makes of visits, and that the program runs."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import agreement


def test_the_page_has_ratios_within_visits_and_the_rank_correlation():
    """Half speed in the second round for both clocks moves no ratio; one of three pairs turns."""
    networks = {
        "a": [{"ours": 1.0, "other": 1.01}, {"ours": 2.0, "other": 2.02}],
        "b": [{"ours": 3.0, "other": 3.15}, {"ours": 6.0, "other": 6.3}],
        "c": [{"ours": 2.5, "other": 5.0}, {"ours": 5.0, "other": 10.0}],
    }
    text = agreement.page(networks, ["a fact"])
    assert "| a | 1.500 | 1.515 | 1.010 |" in text
    assert "**other / ours**: 1.010 to 2.000, median 1.050" in text
    assert "apart by 5.0 % in the median and 100.0 % at most" in text
    assert "Kendall's tau of both orders of 3 networks 0.33." in text


def test_do_bench_is_held_against_a_cold_cache():
    visit = {"ours": 1.0, agreement.COLD: 2.0, agreement.DO_BENCH: 2.1}
    text = agreement.page({"a": [visit], "b": [visit]}, [])
    assert "**ours with a cold L2 / ours**: 2.000 to 2.000" in text
    assert "**do_bench / ours with a cold L2**: 1.050 to 1.050" in text


def test_it_runs_in_a_small_form(monkeypatch, capsys, tmp_path):
    out = tmp_path / "page.md"
    words = "--model tiny --data digits --rounds 2 --repeats 2 --seconds 0.01 --device cpu"
    chosen = ["--variants", "0s1x64d", "2s2x40d", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["agreement.py", *words.split(), *chosen])
    agreement.main()
    text = out.read_text()
    assert capsys.readouterr().out.strip() == text.strip()
    for clock in ("torch.utils.benchmark", "ONNX Runtime"):
        assert f"**{clock} / ours**" in text
    rows = [line for line in text.splitlines() if line.startswith(("| 0s1", "| 2s2"))]
    assert [len(row.split("|")) - 2 for row in rows] == [6, 6]
    assert all(float(cell) > 0 for row in rows for cell in row.split("|")[2:-1])


def test_nonsense_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["agreement.py", "--rounds", "0"])
    with pytest.raises(SystemExit):
        agreement.main()
    assert "at least 1" in capsys.readouterr().err
