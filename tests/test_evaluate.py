"""A trained network on images, as ``evaluate`` has it."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import ROOT, rows, run
from folder_run import CLASSES, folder_run, write_class
from PIL import Image
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score

from resnest_search import __main__ as program
from resnest_search.configuration.compose import run_command
from resnest_search.configuration.schema import DataConfig
from resnest_search.data import build
from resnest_search.errors import UserError
from resnest_search.evaluation.confusion import Confusion
from resnest_search.evaluation.origin import parts_of
from resnest_search.metrics import accuracy_error, accuracy_interval
from resnest_search.study.study import SweepStudy
from resnest_search.training import CHECKPOINT

CLASSIFY = """
import json, sys
sys.path.insert(0, sys.argv[1])
from model import classify
print(json.dumps([classify(path, 1)[0][0] for path in json.load(sys.stdin)]))
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, of which nobody changes a file; its images lie beside it."""
    return folder_run(tmp_path_factory)[0]


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy whose looks at the test images a test may count."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def evaluate(*words: str) -> None:
    run_command("evaluate", list(words), program.evaluate)


def looks(folder: Path) -> int:
    """Networks that were tried on the test images of a run."""
    study = SweepStudy.open(folder)
    try:
        return sum(name.startswith("test_look/") for name in study.notes)
    finally:
        study.close()


def test_validation_images_of_the_run_give_the_recorded_accuracy(
    finished: Path, tmp_path: Path
) -> None:
    for row in rows(finished / "trials.csv"):
        out = tmp_path / row["number"]
        evaluate(f"run={finished}", f"select={row['candidate']}", f"out={out}")
        found = json.loads((out / "evaluate.json").read_text())
        assert found["accuracy"] == found["recorded_accuracy"] == float(row["accuracy"])
        assert found["images"] == int(row["validation_images"])
        assert found["standard_error"] == accuracy_error(found["accuracy"], found["images"])
        assert tuple(found["interval"]) == accuracy_interval(found["accuracy"], found["images"])
        assert found["look"] is None
        assert str(finished) not in (out / "evaluate.json").read_text()


def test_a_folder_of_images_is_answered_as_the_exported_network_answers(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Images of every class under a wrong name, and of all sizes, so that some are mistaken.
    for number, name in enumerate(("pear", "plum", "quince")):
        write_class(tmp_path / "images" / name, number, 6, 7)
    Image.new("L", (50, 9), 90).save(tmp_path / "images" / "plum" / "wide.png")
    best = finished / "best"
    out = tmp_path / "out"
    evaluate(f"run={best}", f"data.root={tmp_path / 'images'}", f"out={out}")
    said = capsys.readouterr().out
    assert "left out, since the network has no such class: quince" in said
    assert "classes of the network without an image: apple" in said
    paths = sorted((tmp_path / "images").glob("p*/*.png"))
    done = subprocess.run(
        [sys.executable, "-c", CLASSIFY, str(best)],
        input=json.dumps([str(path) for path in paths]),
        capture_output=True,
        text=True,
        check=True,
    )
    truth, answers = [path.parent.name for path in paths], json.loads(done.stdout)
    expected = confusion_matrix(truth, answers, labels=list(CLASSES))
    with (out / "confusion.csv").open(newline="") as file:
        head, *lines = csv.reader(file)
    assert head == ["true class", *CLASSES]
    assert [line[0] for line in lines] == list(CLASSES)
    assert np.array([line[1:] for line in lines], dtype=int).tolist() == expected.tolist()
    found = json.loads((out / "evaluate.json").read_text())
    assert [entry["name"] for entry in found["classes"]] == ["pear", "plum"]
    assert [entry["images"] for entry in found["classes"]] == [6, 7]
    assert found["accuracy"] == pytest.approx(np.trace(expected) / 13)
    worst = [line for line in said.splitlines() if line.startswith("worst: ")]
    wrong = [entry for entry in found["classes"] if entry["taken_for"]]
    assert len(worst) == len(wrong) > 0


def test_images_that_have_come_or_gone_since_are_no_validation_images_of_the_run(
    copied: Path, write_colours: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = SweepStudy.open(copied)
    study.note("images", {**study.notes["images"], "names": "of another listing"})
    study.close()
    with pytest.raises(UserError, match="images have come or gone since the sweep began"):
        evaluate(f"run={copied}")
    evaluate(f"run={copied}", f"data.root={write_colours / 'train'}")
    assert "accuracy" in capsys.readouterr().out


def test_every_way_to_the_test_images_is_counted_and_said(
    copied: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = finished.parent / "images"
    before = looks(copied)
    evaluate(f"run={copied}", f"data.root={images}")
    evaluate(f"run={copied}")
    assert looks(copied) == before
    assert "look" not in capsys.readouterr().out
    exported = json.loads((copied / "best" / "model.json").read_text())["candidate"]
    both = [row["candidate"] for row in rows(copied / "trials.csv")]
    (other,) = [candidate for candidate in both if candidate != exported]
    for words in ((f"data.root={images / 'test'}",), ("split=test",)):
        evaluate(f"run={copied}", f"select={other}", *words)
        assert looks(copied) == before + 1
        assert f"look 2 of {before + 1} at the test images" in capsys.readouterr().out


def test_an_export_away_from_its_run_needs_images(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "best", tmp_path / "alone")
    images = finished.parent / "images"
    evaluate(f"run={tmp_path / 'alone'}", f"data.root={images}", f"out={tmp_path / 'out'}")
    found = json.loads((tmp_path / "out" / "evaluate.json").read_text())
    facts = json.loads((tmp_path / "alone" / "model.json").read_text())
    assert found["accuracy"] == facts["validation"]["accuracy"]
    with pytest.raises(UserError, match="an export without its run has no images"):
        evaluate(f"run={tmp_path / 'alone'}")
    (tmp_path / "alone" / "weights.pt").write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"weights\.pt is not the exported file"):
        evaluate(f"run={tmp_path / 'alone'}", f"data.root={images}")


def test_an_export_beside_a_run_that_trained_it_otherwise_is_without_its_run(copied: Path) -> None:
    """A network trained again has the number and candidate of the one before."""
    evaluate(f"run={copied / 'best'}")
    facts = json.loads((copied / "best" / "model.json").read_text())
    file = copied / "trials" / str(facts["trial"]) / CHECKPOINT
    checkpoint = torch.load(file, weights_only=False)
    name = next(name for name in checkpoint["state_dict"] if name.endswith("conv1.weight"))
    checkpoint["state_dict"][name] += 1e-3
    torch.save(checkpoint, file)
    with pytest.raises(UserError, match="an export without its run has no images"):
        evaluate(f"run={copied / 'best'}")


def test_an_export_that_does_not_say_how_images_were_prepared_is_refused(tmp_path: Path) -> None:
    earlier = ROOT / "tests" / "fixtures" / "run-0.1.0" / "best"
    with pytest.raises(UserError, match=r"model\.json does not say how images were prepared"):
        evaluate(f"run={earlier}", f"data.root={tmp_path}")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("data.root={cwd}",), "has none of the network's classes and no val/; valid: folders"),
        (("data.root={cwd}/none",), "none' is no folder"),
        (("select=8s1x64d",), "select=8s1x64d: is no trial of this run"),
        (("weights.accuracy=2", "select=latency"), "weights.accuracy=2: weighs what makes the"),
        (("split=train",), "split=train: valid: validation, test"),
        (("limits.gmacs=1e-9",), "limits.gmacs=1e-09: no complete trial is within it"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    words: tuple[str, ...], said: str, finished: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        evaluate(f"run={finished}", *(word.format(cwd=tmp_path) for word in words))
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_images_that_it_was_trained_on_are_said_also_where_they_are_copies(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = finished.parent / "images" / "train"
    evaluate(f"run={finished}", f"data.root={train}")
    said = "ones that the network was trained on: this is not what it does on others"
    assert f"of 24 images all are {said}" in capsys.readouterr().out
    shutil.copytree(finished.parent / "images" / "val", tmp_path / "mixed")
    for number in range(3):
        copy = tmp_path / "mixed" / "plum" / f"other{number}.png"
        shutil.copy(train / "plum" / f"{number}.png", copy)
    evaluate(f"run={finished / 'best'}", f"data.root={tmp_path / 'mixed'}")
    assert f"of 24 images 3 are {said}" in capsys.readouterr().out
    for name in ("plum", "pear"):
        write_class(tmp_path / "new" / name, 1, 2, 9)
    evaluate(f"run={finished}", f"data.root={tmp_path / 'new'}")
    assert "trained on" not in capsys.readouterr().out
    shutil.copytree(finished / "best", tmp_path / "alone" / "best")
    evaluate(f"run={tmp_path / 'alone' / 'best'}", f"data.root={tmp_path / 'new'}")
    assert "whether it was trained on any of these images is not known" in capsys.readouterr().out


def test_each_part_of_a_split_is_known_again(write_colours: Path) -> None:
    config = DataConfig("image_folder", str(write_colours), test_images=4, val_images=5)
    data = build(dataclasses.replace(config, mean=[0.5], std=[0.5]), 4, 0)
    paths = [str(path) for path in sorted(write_colours.rglob("*.png"))]
    assert parts_of(paths, data) == {"train": 15, "validation": 5, "test": 4}
    assert parts_of(data.files_of("test"), data) == {"test": 4}
    assert parts_of(paths, None) == {}


@pytest.fixture
def write_colours(tmp_path: Path) -> Path:
    """A folder with train/ alone."""
    for number, name in enumerate(CLASSES):
        write_class(tmp_path / "set" / "train" / name, number, 8, number)
    return tmp_path / "set"


def test_a_run_is_evaluated_whose_study_lies_in_a_database_that_has_moved(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copied / "study.db").rename(tmp_path / "moved.db")
    gone = {"url": f"sqlite:///{tmp_path / 'gone' / 'study.db'}", "study": "sweep"}
    (copied / "storage.json").write_text(json.dumps(gone))
    with pytest.raises(UserError, match="cannot be used"):
        evaluate(f"run={copied}", f"data.root={tmp_path}")
    images = tmp_path / "others"
    write_class(images / "plum", 2, 2, 9)
    words = (f"storage=sqlite:///{tmp_path / 'moved.db'}", f"data.root={images}", "split=test")
    evaluate(f"run={copied}", *words)
    assert "look 1 of 1 at the test images" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(finished: Path) -> None:
    with pytest.raises(UserError, match="device=cuda: torch sees no GPU here; valid: cpu, or null"):
        evaluate(f"run={finished}", "device=cuda")


def test_a_refusal_has_one_line_and_exit_code_2(tmp_path: Path) -> None:
    refused = run(tmp_path, "evaluate", "run=nowhere").one_line
    assert refused.startswith("resnest-search: run=nowhere: is no folder; valid: ")


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, answers = rng.integers(0, 4, 60), rng.integers(1, 5, 60)  # 4 is no true class
    found = Confusion.of(truth, answers, ("a", "b", "c", "d", "e", "f"))
    assert found.counts.tolist() == confusion_matrix(truth, answers, labels=range(6)).tolist()
    assert found.accuracy == pytest.approx((truth == answers).mean())
    assert found.macro_f1 == pytest.approx(f1_score(truth, answers, average="macro"))
    seen = np.where(answers == 4, 0, answers), truth
    also = Confusion.of(seen[1], seen[0], ("a", "b", "c", "d"))
    assert also.balanced_accuracy == pytest.approx(balanced_accuracy_score(truth, seen[0]))


def test_the_error_of_macro_f1_is_how_far_other_images_take_it() -> None:
    rng = np.random.default_rng(0)
    shares = np.array([[0.5, 0.1, 0.0], [0.05, 0.2, 0.02], [0.03, 0.0, 0.1]])
    names = ("a", "b", "c")
    tables = rng.multinomial(400, shares.ravel(), size=300).reshape(-1, 3, 3)
    spread = np.std([Confusion(table, names).macro_f1 for table in tables])
    errors = [Confusion(table, names).macro_error for table in tables[:20]]
    assert np.mean(errors) == pytest.approx(spread, rel=0.15)
    sure = Confusion(np.diag([30, 20, 10]), names)
    assert sure.macro_f1 == 1
    assert sure.macro_error == sure.balanced_error > 0
