"""The command line as a person meets it: a mistake is one line and exit code 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import resnest_search
from resnest_search.configuration.compose import run_command
from resnest_search.errors import UserError
from resnest_search.execution.prepare import prepare

ROOT = str(Path(resnest_search.__file__).parents[1])


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "resnest_search", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": ROOT, "CUDA_VISIBLE_DEVICES": ""},
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["swep"], ["'swep' is no command", "sweep, train, profile, resume, report, export"]),
        (["sweep"], ["sweep: none named", "radix_card, radix_card_width, table, width"]),
        (["sweep=radix_crad"], ["sweep=radix_crad", "did you mean radix_card"]),
        (["sweep=radix_card", "modle=small"], ["modle", "did you mean model"]),
        (["sweep=radix_card", "search.epoch=3"], ["search.epoch", "search.epochs"]),
        (["sweep=radix_card", "search.epochs=three"], ["search.epochs", "'three'"]),
        (["sweep=radix_card", "search=3"], ["search", "3"]),
        (["sweep=radix_card", "model.stem_width=${nope}"], ["model.stem_width"]),
        (["train", "variant=3s1x64d"], ["variant=3s1x64d", "does not divide the group width"]),
        (["train", "variant=2s"], ["variant=2s", "RsKxWd"]),
        (["resume", "run=nowhere"], ["run=nowhere: is no folder", "study.db"]),
        (["report", "run=."], ["run=.", "no study.db"]),
        (
            ["sweep=radix_card", "data=cifar10", "data.root=/nope"],
            ["data.root", "/nope", "cifar-10-batches-py"],
        ),
    ],
    ids=lambda part: " ".join(part),
)
def test_a_mistake_is_one_line_and_nothing_is_left(
    words: list[str], parts: list[str], tmp_path: Path
) -> None:
    ran = run(tmp_path, *words)
    assert ran.returncode == 2
    assert "Traceback" not in ran.stderr
    (line,) = ran.stderr.splitlines()
    for part in parts:
        assert part in line
    assert ran.stdout == "", "nothing was begun"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (
            ["search.objectives=[accuracy,f1]"],
            "search.objectives=f1: valid: accuracy, balanced_accuracy, macro_f1, loss",
        ),
        (["search.space.radix=[1,7]"], "search.space.radix=7: model=tiny: "),
        (["search/pruner=median", "search.objectives=[latency_ms]"], "search."),
        (["search/sampler=known_cost", "search.objectives=[latency_ms]"], "known_cost: models one"),
        (
            ["search.repeats=1", "search.objectives=[loss]"],
            "search.repeats=1: needs one of accuracy, balanced_accuracy, macro_f1",
        ),
        (["search.tolerance=2"], "search.tolerance=2.0: valid: above 0 and below 1, or null"),
        (
            ["search.tolerance=0.1", "search/sampler=nsga2", "search.objectives=[accuracy,loss]"],
            "search.tolerance=0.1: what is left is forecast where one trained objective",
        ),
        (["search.sampler.args.pausing=maybe"], "pausing must be true or false, not maybe"),
        (["search.warm_start=[nowhere]"], "search.warm_start=nowhere: "),
        (["trial=table"], "trial.path=null: valid"),
        (["search.pruner.args.rung=1"], "search.pruner.args.rung"),
        (["search.sampler.args.startup=3"], "search.sampler.args"),
        (["search.sampler.name=nsga"], "search.sampler.name=nsga"),
        (["resources.gpus_per_trial=99"], "resources.gpus_per_trial=99: there are "),
        (["tracking=wandb"], "tracking=wandb: no such option; valid: none, offline, online"),
        (["tracking.name=on"], "tracking.name=on: valid: offline, online, none"),
        (["tracking.project=a/b"], "tracking.project=a/b: valid: up to 128 characters without /"),
        (["tracking.tags=a"], "tracking.tags: not a list; write tracking.tags=[value,value]"),
        (["model.planes=[32, 64]"], "model.depths=[1]"),
        (["data.augment=flip"], "data.augment"),
        (["search.space.data.augment=[none,flip]"], "search.space.data.augment"),
        (["search.space.train.batch_size=[0]"], "search.space.train.batch_size"),
        (["search.space.model.depths=[[1,1,1]]"], "search.space.model.depths"),
        (
            ["search.space.train.momentum={low:0.5,high:0.9}", "search.trials=null"],
            "search.trials",
        ),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else None,
)
def test_what_needs_no_work_is_refused_before_any_work(
    words: list[str], part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is measured and no folder made for a sweep that cannot begin."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pytest"])
    with pytest.raises(UserError) as caught:
        run_command("sweep", ["sweep=radix_card", *words], prepare)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_holds_a_foreign_study_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "study.db").write_bytes(b"nothing that SQLite knows, and rather long" * 20)
    ran = run(tmp_path, "report", "run=run")
    assert ran.returncode == 2
    (line,) = ran.stderr.splitlines()
    assert "is no study of a sweep" in line
    assert [path.name for path in folder.iterdir()] == ["study.db"]


def test_no_word_at_all_shows_how_to_begin(tmp_path: Path) -> None:
    ran = run(tmp_path)
    assert ran.returncode == 2
    assert "usage: python -m resnest_search [command]" in ran.stdout


@pytest.mark.parametrize("words", [["--version"], ["train", "--version"]])
def test_the_version(words: list[str], tmp_path: Path) -> None:
    ran = run(tmp_path, *words)
    assert (ran.returncode, ran.stdout) == (0, f"resnest-search {resnest_search.__version__}\n")


@pytest.mark.parametrize(
    "words", ["--help", "train -h", "sweep=width --cfg job", "--hydra-help", "sweep=width --info"]
)
def test_a_reader_that_goes_away_is_no_fault(words: str, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ran = subprocess.run(
        [sys.executable, "-m", "resnest_search", *words.split()],
        stdout=writing,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ROOT},
        check=False,
    )
    os.close(writing)
    assert ran.stderr == b""
    assert ran.returncode == (0 if "--info" in words else 128 + 13)  # Hydra logs, and goes on


def test_several_runs_are_checked_before_the_first_begins(tmp_path: Path) -> None:
    ran = run(tmp_path, "train", "--multirun", "variant=2s1x64d,3s1x64d")
    assert ran.returncode == 2
    assert "variant=3s1x64d: model=tiny" in ran.stderr
    assert not list(tmp_path.iterdir())
