"""The images of a sweep: found before anything is measured, the same ones on every resume."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import ROOT
from PIL import Image

from resnest_search.configuration.schema import (
    DataConfig,
    MethodConfig,
    ModelConfig,
    ResumeConfig,
    SearchConfig,
    SweepConfig,
)
from resnest_search.data import build
from resnest_search.errors import UserError
from resnest_search.execution.images import find_images
from resnest_search.execution.prepare import prepare
from resnest_search.execution.sweep import SweepRun, create, make_run, reopen
from resnest_search.search import Assignment
from resnest_search.study.answers import pack
from resnest_search.study.costing import Costing
from resnest_search.study.read import read_sweep
from resnest_search.study.record import Epoch, Sweep
from resnest_search.study.study import SweepStudy


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two classes, twelve images to train on and four to validate with."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for part, count in (("train", 6), ("val", 2)):
        for name in ("cat", "dog"):
            folder = tmp_path / "images" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "images"


def begun(root: Path, folder: Path, **data: object) -> tuple[SweepRun, list[int]]:
    """A sweep that has been entered into its study, and how often files were read for it."""
    config = SweepConfig(
        model=ModelConfig(depths=[1, 1], planes=[32, 64]),
        data=DataConfig(name="image_folder", root=str(root), image_size=8, **data),
        search=SearchConfig(
            space={"variant": ["1s1x32d", "2s1x32d"]},
            sampler=MethodConfig("grid"),
            pruner=MethodConfig("none"),
        ),
    )
    config, space = prepare(config)
    told: list[int] = []
    config, found = find_images(config, space, lambda done, total: told.append(total))
    costs = {"latency_ms": 1.0, "memory_mib": 1.0}
    costings = {c.network: Costing(costs, "cpu", "eager") for c in space.networks}
    folder.mkdir()
    return create(config, space, folder, costings, "", found), told


def recorded(folder: Path) -> Sweep:
    study = SweepStudy.open(folder)
    try:
        return read_sweep(study, folder)
    finally:
        study.close()


def test_a_run_and_the_record_name_the_images(images: Path, tmp_path: Path) -> None:
    from resnest_search.execution.resources import Allotment

    run, told = begun(images, tmp_path / "run")
    assert told == [16, 16]  # for the digest, and to read them
    sweep = recorded(run.folder)
    assert sweep.images is not None
    assignment = run.strategy.next()
    assert isinstance(assignment, Assignment)
    allotment = Allotment(**{f.name: None for f in dataclasses.fields(Allotment)})
    assert make_run(run, allotment)(assignment).images == sweep.images
    again, told = begun(images, tmp_path / "again")
    assert told == []
    assert recorded(again.folder).images == sweep.images


@pytest.mark.parametrize("change", ["an image more", "a class more", "other content"])
def test_a_resume_with_other_images_is_refused(images: Path, tmp_path: Path, change: str) -> None:
    run, _ = begun(images, tmp_path / "run")
    run.study.close()
    reopen(run.folder, ResumeConfig()).study.close()
    picture = Image.new("RGB", (9, 9))
    if change == "an image more":
        picture.save(images / "val" / "cat" / "new.png")
        said = "1 more: val/cat 2 -> 3"
    elif change == "a class more":
        (images / "train" / "yak").mkdir()
        picture.save(images / "train" / "yak" / "new.png")
        said = "1 more: train/yak 0 -> 1"
    else:
        picture.save(images / "train" / "dog" / "3.png")
        said = "1 folders changed: train/dog has other content"
    with pytest.raises(UserError) as caught:
        reopen(run.folder, ResumeConfig(trials=1))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert recorded(run.folder).config["search"]["trials"] is None, "nothing was written"


def test_a_study_without_a_digest_is_resumed_with_a_line(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = begun(images, tmp_path / "run")
    run.study.note("images", {})
    run.study.close()
    again = reopen(run.folder, ResumeConfig())
    assert "no digest of its images" in capsys.readouterr().out
    assert recorded(again.folder).images is None


def test_or_refused_where_its_answers_are_to_other_images(images: Path, tmp_path: Path) -> None:
    run, _ = begun(images, tmp_path / "run")
    assignment = run.strategy.next()
    assert isinstance(assignment, Assignment)
    validation = build(run.config.data, 4, 0).describe()["sha256"]["validation"]
    answers = pack(np.ones(4, dtype=np.bool_), validation)
    run.study.record(assignment.number, Epoch(1, 1.0, 0.1, 0.1, 1.0, 4, correct=answers))
    run.study.note("images", {})
    run.study.close()
    reopen(run.folder, ResumeConfig()).study.close()
    Image.new("RGB", (9, 9)).save(images / "val" / "cat" / "new.png")
    with pytest.raises(UserError, match="the validation images are not those that the sweep"):
        reopen(run.folder, ResumeConfig())


def test_what_is_skipped_is_a_warning_of_the_record(images: Path, tmp_path: Path) -> None:
    (images / "val" / "cat" / "1.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"1 image, '.*val/cat/1\.png' \(the file is empty\)"):
        begun(images, tmp_path / "refused")
    run, _ = begun(images, tmp_path / "run", unreadable="skip")
    sweep = recorded(run.folder)
    assert sweep.config["data"]["skip"] == ["val/cat/1.png"]
    assert any("1 image left out" in line for line in sweep.warnings)


def test_the_command_refuses_before_it_measures(images: Path, tmp_path: Path) -> None:
    path = images / "train" / "cat" / "1.png"
    path.write_bytes(path.read_bytes()[:90])
    words = ("train", "variant=1s1x32d", "data=image_folder", f"data.root={images}", "run=r")
    ran = subprocess.run(
        [sys.executable, "-m", "resnest_search", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"resnest-search: data.root: 1 image, '{path}' (")
    assert len(ran.stderr.splitlines()) == 1
    assert "Measuring" not in ran.stdout
    assert not (tmp_path / "r").exists()
