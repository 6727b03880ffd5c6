"""ResNeSt beside other networks: what is read, timed, starred and drawn."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from tradeoff import FAMILIES, OURS, Published, main, page, published

from resnest_search.cost.latency import Rounds, Timing


@pytest.fixture
def results(tmp_path: Path) -> Path:
    path = tmp_path / "results-imagenet.csv"
    rows = [
        ["resnest14d.gluon_in1k", "32", "75.516"],
        ["efficientnet_b0.ra_in1k", "32", "77.698"],
        ["efficientnet_b0.ra_in1k", "999", "78.0"],
        ["vit_huge", "32", "90.0"],
    ]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["model", "img_size", "top1"], *rows])
    return path


def test_the_program_from_end_to_end(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--rounds", "2", "--repeats", "1", "--warmup", "0", "--device", "cpu"]
    main(["--results", str(results), "--out", str(tmp_path / "out"), *words])
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if line.startswith("| ")][2:]
    assert sorted(line.split(" | ")[1] for line in lines) == [
        "efficientnet_b0.ra_in1k",
        "resnest14d.gluon_in1k",
    ]
    assert str(tmp_path) not in out
    assert (tmp_path / "out" / "tradeoff.png").read_bytes().startswith(b"\x89PNG")


def test_a_star_marks_what_no_other_is_as_fast_and_as_accurate_as() -> None:
    rows = [("a", 1.0, 70.0), ("b", 2.0, 69.0), ("c", 3.0, 80.0), ("d", 3.0, 79.0)]
    found = {
        Published(name, "ResNeSt", 224, accuracy): Rounds([Timing((ms,), 1)] * 2)
        for name, ms, accuracy in rows
    }
    lines = page(found, ["a fact"]).splitlines()
    stars = [line.split(" | ")[1] for line in lines if line.startswith("| ★")]
    assert stars == ["a", "c"]


@pytest.mark.parametrize("name", OURS)
def test_ours_are_those_whose_accuracy_is_published(name: str) -> None:
    """As many parameters as timm's network of that name, whose weights were judged."""
    import timm
    import torch

    with torch.device("meta"):
        theirs = timm.create_model(name, pretrained=False)
        own = Published(name, "ResNeSt", 224, 0.0).make()
    count = [sum(p.numel() for p in network.parameters()) for network in (own, theirs)]
    assert count[0] == count[1]


def test_every_name_is_one_of_timms() -> None:
    import timm

    known = set(timm.list_models())
    names = [name.partition(".")[0] for names in FAMILIES.values() for name in names]
    assert set(names) <= known


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--results", "none.csv"], "none.csv"),
        (["--only", "alexnet"], "--only alexnet: begins the name of no network"),
        (["--measure", "fast", "--device", "cpu"], "measure.form=fast is of GPUs"),
    ],
)
def test_bad_words_are_answered_in_one_line(results: Path, words: list[str], said: str) -> None:
    given = words if "--results" in words else ["--results", str(results), *words]
    with pytest.raises(SystemExit, match=said) as caught:
        main(given)
    assert "\n" not in str(caught.value)


def test_what_is_no_file_of_results_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="no columns model"):
        published(tmp_path / "other.csv")
