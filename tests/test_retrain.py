"""A run's network trained again, as it is typed: ``train source=FOLDER``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tables
import torch
import yaml
from command_line import ROOT, rows, run, started, study
from folder_run import RATES, VARIANT, folder_run, write_class

from resnest_search.configuration.schema import DataConfig, SweepConfig, TrainConfig
from resnest_search.retrain import kept_from
from resnest_search.study.study import SweepStudy
from resnest_search.training import CHECKPOINT, load_weights

SHORT = ("train.epochs=1", "tracking=none")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, of which nobody changes a file."""
    return folder_run(tmp_path_factory)[0]


@pytest.fixture
def damaged(source: Path, tmp_path: Path) -> Path:
    """A copy that a test may change, with images of its own."""
    shutil.copytree(source, tmp_path / "out")
    return tmp_path / "out"


def composed(cwd: Path, *words: str) -> dict[str, Any]:
    """What a training would be configured with."""
    done = run(cwd, "train", *words, "--cfg", "job")
    assert done.code == 0, done
    found: dict[str, Any] = yaml.safe_load(done.out)
    return found


def best(source: Path) -> dict[str, str]:
    """The most accurate trial, of two that cost the same."""
    return max(rows(source / "trials.csv"), key=lambda row: float(row["accuracy"]))


def test_the_source_is_composed_on_and_what_is_typed_goes_before(
    source: Path, tmp_path: Path
) -> None:
    recorded = yaml.safe_load((source / "config.yaml").read_text())
    by_rate = {row["train.learning_rate"]: row for row in _with_rates(source)}
    for rate in RATES:
        candidate = by_rate[str(rate)]["candidate"]
        found = composed(tmp_path, f"source={source}", f"select={candidate}")
        assert found["variant"] == VARIANT
        assert found["train"] == {**recorded["train"], "learning_rate": rate}
        assert found["model"] == {**recorded["model"], "avd_first": False}
        assert found["data"] == {**recorded["data"], "classes": None}
        assert found["measure"] == recorded["measure"]
    found = composed(
        tmp_path, f"source={source}", "train=paper", "train.batch_size=4", "data.image_size=24"
    )
    paper = yaml.safe_load((ROOT / "conf" / "train" / "paper.yaml").read_text())
    assert found["train"] == {**found["train"], **paper["train"], "batch_size": 4}
    assert found["data"] == {
        **recorded["data"],
        **paper["data"],
        "classes": None,
        "image_size": 24,
    }


def _with_rates(source: Path) -> list[dict[str, str]]:
    return [
        {**row, **{k: str(v) for k, v in json.loads(row["parameters"]).items()}}
        for row in rows(source / "trials.csv")
    ]


def test_the_chosen_network_is_trained_again_resumed_and_exported(
    source: Path, tmp_path: Path
) -> None:
    words = (f"source={source}", "select=accuracy", "train.epochs=3", "tracking=none", "run=new")
    with started(tmp_path, "train", *words) as command:
        command.until(lambda: (tmp_path / "new/trials/0" / CHECKPOINT).exists())
        command.process.kill()
        command.process.wait()
    done = run(tmp_path, "resume", "run=new")
    assert done.code == 0, done
    (trial,) = study(tmp_path / "new").trials
    assert sorted(trial.intermediate_values) == [1, 2, 3]
    origin = yaml.safe_load((tmp_path / "new/config.yaml").read_text())["source"]
    chosen = best(source)
    assert origin["run"] == source.name
    assert (str(origin["trial"]), origin["candidate"]) == (chosen["number"], chosen["candidate"])
    assert str(source) not in (tmp_path / "new/config.yaml").read_text()
    done = run(tmp_path, "export", "run=new")
    assert done.code == 0, done
    assert (tmp_path / "new/best/weights.pt").exists()


def test_it_starts_from_its_own_weights_where_that_is_asked(source: Path, tmp_path: Path) -> None:
    # Without a learning rate the weights stay what they began as.
    words = (f"source={source}", "model.pretrained=source", "train.learning_rate=0.0")
    done = run(tmp_path, "train", *words, *SHORT, "run=new")
    assert done.code == 0, done
    number = str(yaml.safe_load((tmp_path / "new/config.yaml").read_text())["source"]["trial"])
    (rate,) = [row["train.learning_rate"] for row in _with_rates(source) if row["number"] == number]
    assert f"train.learning_rate=0.0 is taken, not the {rate} of {VARIANT}" in done.err
    before = load_weights(source / "trials" / number)
    after = load_weights(tmp_path / "new/trials/0")
    weights = [name for name in before if "running" not in name and "tracked" not in name]
    assert weights
    assert all(torch.equal(before[name], after[name]) for name in weights)
    # Split otherwise, they may have been trained on what is tested.
    assert "may have been trained on" not in done.err
    done = run(tmp_path, "train", *words, *SHORT, "data.split_seed=5", "plan=true")
    assert "data.split_seed=5: the weights of" in done.err
    assert "may have been trained on some of the validation and test images" in done.err


def test_images_that_have_changed_are_refused_unless_others_are_named(
    source: Path, tmp_path: Path
) -> None:
    cwd = tmp_path / "moved"
    shutil.copytree(source.parent, cwd)
    opened = SweepStudy.open(cwd / "out")
    config = opened.notes["config"]
    root = {"root": str(cwd / "images")}
    opened.note("config", {**config, "data": {**config["data"], **root}})
    opened.close()
    other = cwd / "others"
    shutil.copytree(cwd / "images", other)
    write_class(other / "train" / "quince", 1, 4, 9)
    changed = cwd / "images" / "train" / "pear"
    shutil.copy(changed / "0.png", changed / "more.png")
    refused = run(cwd, "train", "source=out", *SHORT).one_line
    assert refused.startswith("resnest-search: data.root: ")
    assert refused.endswith("valid: those images, or data.root=FOLDER to learn from others")
    done = run(cwd, "train", "source=out", f"data.root={other}", *SHORT, "run=new")
    assert done.code == 0, done
    assert yaml.safe_load((cwd / "new/config.yaml").read_text())["data"]["classes"] == 4


def test_a_source_whose_study_lies_in_a_database_that_has_moved_is_trained_again(
    damaged: Path, tmp_path: Path
) -> None:
    (damaged / "study.db").rename(tmp_path / "moved.db")
    gone = {"url": f"sqlite:///{tmp_path / 'gone' / 'study.db'}", "study": "sweep"}
    (damaged / "storage.json").write_text(json.dumps(gone))
    words = (f"source={damaged}", f"storage=sqlite:///{tmp_path / 'moved.db'}")
    assert composed(tmp_path, *words, f"select={best(damaged)['candidate']}")["variant"] == VARIANT


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("source=nowhere",), "source=nowhere: is no folder; valid: the folder of a run"),
        (("source=a=b, (c)",), "source=a=b, (c): is no folder; valid: the folder of a run"),
        (("source={run}", "variant=2s1x64d"), "variant=2s1x64d: source={run} brings the variant"),
        (("source={run}", "select=8s1x64d"), "select=8s1x64d: is no trial of this run; valid: "),
        (("source={run}", "limits.gmacs=1e-9"), "limits.gmacs=1e-09: no complete trial is within"),
        (("source={run}", "select=latency", "weights.accuracy=2"), "weights.accuracy=2: weighs"),
        (("model.pretrained=source",), "model.pretrained=source: valid: beside source=FOLDER"),
        (("select=latency",), "select=latency: chooses from a run; valid: beside source=FOLDER"),
        (("limits.gmacs=2",), "limits.gmacs=2: chooses from a run; valid: beside source=FOLDER"),
        (("storage=sqlite:///a",), "storage=sqlite:///a: is of a source's study; valid: beside"),
        (("--multirun", "source={run}", "select=knee,accuracy"), "source={run}: 2 choices"),
        (("source={run}", "model.pretrained=no.pth"), "model.pretrained={cwd}/no.pth: is no file"),
    ],
)
def test_what_names_no_network_is_refused_in_one_line(
    words: tuple[str, ...], said: str, source: Path, tmp_path: Path
) -> None:
    places = {"run": source, "cwd": tmp_path}
    refused = run(tmp_path, "train", *(word.format(**places) for word in words)).one_line
    assert refused.startswith(f"resnest-search: {said.format(**places)}")


def test_a_replayed_table_has_no_network(tmp_path: Path) -> None:
    tables.write(tmp_path / "own.csv", tables.rows_of())
    done = run(tmp_path, "sweep=table", "trial.path=own.csv", "tracking=none", "run=out")
    assert done.code == 0, done
    refused = run(tmp_path, "train", "source=out").one_line
    assert "out: replays a table, which says nothing of images and network; valid: " in refused


def test_a_checkpoint_that_is_gone_is_missed_only_where_it_is_asked_for(damaged: Path) -> None:
    for checkpoint in damaged.glob(f"trials/*/{CHECKPOINT}"):
        checkpoint.unlink()
    cwd = damaged.parent
    refused = run(cwd, "train", "source=out", "model.pretrained=source").one_line
    assert "model.pretrained=source: the checkpoint is gone from trials/" in refused
    done = run(cwd, "train", "source=out", "plan=true")
    assert done.code == 0, done
    assert f"Trains {VARIANT}" in done.out


@pytest.mark.parametrize(
    ("recipe", "words", "kept"),
    [
        ("quick", ["train=quick"], ["policy", "erasing"]),
        ("quick", ["train=quick", "data.erasing=0.25"], ["policy"]),
        ("paper", ["train=paper"], []),  # which says what becomes of images
        ("modern", [], []),  # that of the run, images and all
    ],
)
def test_what_a_run_did_to_its_images_stays_where_a_recipe_says_nothing_of_it(
    recipe: str, words: list[str], kept: list[str]
) -> None:
    found: Any = SimpleNamespace(trial=SimpleNamespace(name=VARIANT))
    data = DataConfig(policy="autoaugment", erasing=0.25)
    lines = kept_from(found, SweepConfig(data=data, train=TrainConfig(name=recipe)), words)
    values = {"policy": ("autoaugment", "none"), "erasing": (0.25, 0.0)}
    assert lines == [
        f"data.{key}={values[key][0]} is that of {VARIANT}, since train={recipe} says nothing of "
        f"it; off by data.{key}={values[key][1]}"
        for key in kept
    ]
