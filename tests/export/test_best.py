"""The exported winner, as somebody gets it who has nothing of this package."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from finished_run import COMPLETE, INFEASIBLE, PRUNED

from resnest_search.configuration.compose import run_command
from resnest_search.configuration.options import question
from resnest_search.configuration.schema import DataConfig, ModelConfig, TrainCommandConfig
from resnest_search.data import build as build_data
from resnest_search.errors import UserError
from resnest_search.export import export_best
from resnest_search.models.build import build
from resnest_search.study.read import read_sweep
from resnest_search.study.record import Sweep
from resnest_search.study.select import described, select_trial
from resnest_search.study.study import SweepStudy
from resnest_search.training import CHECKPOINT
from resnest_search.variant import Variant

ALONE = """
import sys
KEPT = ("resnest_search", "pytorch_lightning", "lightning_fabric", "ray", "optuna", "hydra",
        "omegaconf", "torchvision", "sklearn", "wandb", "rich")

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in KEPT:
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, Blocker())
sys.path.insert(0, sys.argv[1])
import torch
from model import MEAN, STD, build, preprocess

given = torch.load("images.pt", weights_only=True)
network = build(pretrained=True).eval()
with torch.inference_mode():
    logits = network(given["images"])
raw = given["images"] * STD[0] + MEAN[0]
assert torch.allclose(preprocess(raw), given["images"], atol=1e-5)
print(int((logits.argmax(1) == given["labels"]).sum()), len(given["labels"]))
"""


def contents(folder: Path) -> dict[str, str]:
    """Digest of each file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_exported_network_needs_torch_alone_and_has_the_recorded_accuracy(
    finished: Path, tmp_path: Path
) -> None:
    sweep = read_sweep(SweepStudy.open(finished), finished)
    winner = next(t for t in sweep.trials if t.number == sweep.chosen)
    batches = list(build_data(DataConfig(**sweep.config["data"]), 64, 0).val_dataloader())
    images, labels = (torch.cat(part) for part in zip(*batches, strict=True))
    torch.save({"images": images, "labels": labels}, tmp_path / "images.pt")
    shutil.copytree(finished / "best", tmp_path / "given")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, "given"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    right, count = map(int, done.stdout.split())
    facts = json.loads((finished / "best" / "model.json").read_text())
    assert right / count == facts["validation"]["accuracy"] == pytest.approx(winner.accuracy)
    assert count == winner.validation_images == facts["validation"]["images"]


def test_facts_beside_the_model_are_those_of_the_study(finished: Path) -> None:
    best = finished / "best"
    assert sorted(path.name for path in best.iterdir()) == [
        "README.md",
        "model.json",
        "model.py",
        "model.yaml",
        "weights.pt",
    ]
    facts = json.loads((best / "model.json").read_text())
    sweep = read_sweep(SweepStudy.open(finished), finished)
    winner = next(t for t in sweep.trials if t.number == sweep.chosen)
    assert facts["variant"] == winner.variant
    assert facts["trial"] == winner.number
    assert facts["epochs"] == 4
    assert facts["costs"] == {**winner.costs, "device": winner.device, "mode": winner.mode}
    assert facts["test"]["images"] == 60
    assert "sweep=tiny" in facts["command"]
    assert {"torch", "ray", "optuna", "resnest-search"} <= facts["versions"].keys()
    for name, digest in facts["sha256"].items():
        assert hashlib.sha256((best / name).read_bytes()).hexdigest() == digest
    assert str(finished) not in (best / "model.json").read_text()
    weights = torch.load(best / "weights.pt", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in weights.values())


def test_the_network_around_the_variant_is_an_option_of_the_group_model(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = finished / "best"
    (tmp_path / "model").mkdir()
    shutil.copy(best / "model.yaml", tmp_path / "model" / "mine.yaml")
    facts = json.loads((best / "model.json").read_text())
    monkeypatch.chdir(tmp_path)
    composed: list[TrainCommandConfig] = []
    words = ["model=mine", f"variant={facts['variant']}"]
    run_command("train", words, composed.append)
    (config,) = composed
    assert config.model == ModelConfig(**{**facts["model"], "name": "mine"})
    network = build(
        Variant.parse(config.variant),
        config.model,
        in_channels=facts["data"]["channels"],
        num_classes=facts["data"]["classes"],
    )
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    weights = torch.load(best / "weights.pt", weights_only=True)
    assert shapes == {name: tensor.shape for name, tensor in weights.items()}
    assert question("model", "mine").endswith(f"model=NAME, beside variant={facts['variant']}.")


def test_facts_say_how_sure_the_choice_is_and_what_is_within_noise_of_it(finished: Path) -> None:
    facts = json.loads((finished / "best" / "model.json").read_text())["uncertainty"]
    sweep = read_sweep(SweepStudy.open(finished), finished)
    winner = next(t for t in sweep.trials if t.number == sweep.chosen)
    assert facts["front_membership"] == winner.membership
    assert facts["knee_share"] == sweep.knee_share
    assert facts["noise_of"] == ["images", "costs"]
    assert facts["mean_error"] == winner.mean_error == pytest.approx(winner.accuracy_error)
    assert [rival["trial"] for rival in facts["rivals"]] == list(sweep.rivals)
    text = (finished / "best" / "README.md").read_text()
    share = winner.membership
    said = "over 99%" if share > 0.99 else "under 1%" if share < 0.01 else f"{share:.0%}"
    assert f"On the front with a probability of {said}, given" in text
    assert f"It is {described(sweep, 'knee')}." in text
    for rival in facts["rivals"]:
        assert rival["variant"] in text


def test_select_never_picks_the_best_of_several_seeds(copied: Sweep) -> None:
    """It would be best by chance."""
    first = select_trial(copied, "knee")
    last = dataclasses.replace(first.curve[-1], accuracy=1.0)
    lucky = dataclasses.replace(
        first, number=99, on_front=False, repeat_of=first.number, curve=(last,)
    )
    sweep = dataclasses.replace(copied, trials=(lucky, *copied.trials))
    assert select_trial(sweep, first.variant) == first
    assert select_trial(sweep, first.candidate) == first
    assert select_trial(sweep, "accuracy") == select_trial(copied, "accuracy")


def test_a_small_front_is_not_praised_for_its_knee(copied: Sweep) -> None:
    complete = [t for t in copied.trials if t.state == "complete"]

    def of(size: int) -> Sweep:
        members = [dataclasses.replace(t, on_front=n < size) for n, t in enumerate(complete)]
        return dataclasses.replace(copied, trials=tuple(members), chosen=members[0].number)

    assert described(of(1), "knee") == "the only one on the front"
    order = "the first in the order accuracy, latency_ms, memory_mib on a front of 2"
    assert described(of(2), "knee") == f"{order}, which has no knee"
    assert described(of(3), "knee") == "the knee of the front"
    assert select_trial(of(2), "knee").number == complete[0].number
    assert described(of(2), "latency") == "the fastest of the front"
    assert described(of(2), complete[0].variant) == "chosen by name"


def test_select_picks_what_it_says(copied: Sweep) -> None:
    complete = [t for t in copied.trials if t.state == "complete"]
    assert {t.variant for t in complete} == set(COMPLETE)
    assert select_trial(copied, "knee").number == copied.chosen
    assert select_trial(copied, "accuracy").accuracy == max(t.accuracy or 0 for t in complete)
    for name, cost in (("latency", "latency_ms"), ("memory", "memory_mib")):
        assert select_trial(copied, name).costs[cost] == min(t.costs[cost] for t in complete)
    for trial in complete:
        assert select_trial(copied, trial.variant) == trial
        assert select_trial(copied, trial.candidate) == trial


@pytest.mark.parametrize("select", [*COMPLETE, "accuracy"])
def test_any_complete_trial_can_replace_the_best(copied: Sweep, select: str) -> None:
    said = str(export_best(copied, select))
    chosen = select_trial(copied, select)
    facts = json.loads((Path(copied.folder) / "best" / "model.json").read_text())
    assert facts["variant"] == chosen.variant
    assert facts["selected_as"] == select
    assert facts["validation"]["accuracy"] == pytest.approx(chosen.accuracy)
    first, second, _ = said.splitlines()
    assert f"Exported {chosen.name}, " in first
    assert second.strip().startswith("source: model.py")
    assert "max difference 0, top-1 agreement 100.00%" in second
    assert sorted(path.name for path in Path(copied.folder).glob("*best*")) == ["best"]


def test_looks_at_the_test_images_are_counted_by_weights(copied: Sweep) -> None:
    first = select_trial(copied, "knee").variant  # which the sweep itself exported
    second, third = (name for name in COMPLETE if name != first)
    readme = Path(copied.folder) / "best" / "README.md"
    assert "look 1 of 1 at the test images" in readme.read_text()
    for select, look, networks in ((first, 1, 1), (second, 2, 2), (third, 3, 3), (second, 2, 3)):
        said = str(export_best(copied, select))
        facts = json.loads(readme.with_name("model.json").read_text())
        assert facts["test_look"] == {"number": look, "networks": networks}
        assert f"look {look} of {networks} at the test images" in said.splitlines()[0]
        assert f"look {look} of {networks} at the test images" in readme.read_text()
        assert ("better by chance" in readme.read_text()) == (networks > 1)
    notes = SweepStudy.open(Path(copied.folder)).notes
    looks = [entry for name, entry in notes.items() if name.startswith("test_look/")]
    assert sorted(entry["variant"] for entry in looks) == sorted(COMPLETE)


@pytest.mark.parametrize(
    ("select", "why"),
    [(PRUNED, "pruned"), (INFEASIBLE, "infeasible"), ("8s1x64d", "no trial"), ("best", "no trial")],
)
def test_what_is_not_complete_is_not_exported(copied: Sweep, select: str, why: str) -> None:
    before = contents(Path(copied.folder) / "best")
    with pytest.raises(UserError) as caught:
        export_best(copied, select)
    said = str(caught.value)
    assert said.startswith(f"select={select}: ")
    assert why in said
    assert all(variant in said for variant in COMPLETE)
    assert "\n" not in said
    assert contents(Path(copied.folder) / "best") == before


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:2000])


def _overwrite(path: Path) -> None:
    path.write_bytes(b"nonsense")


def _forget(path: Path) -> None:
    loaded = torch.load(path, weights_only=True)
    del loaded["state_dict"]
    torch.save(loaded, path)


def _shrink(path: Path) -> None:
    loaded = torch.load(path, weights_only=True)
    loaded["state_dict"].popitem()
    torch.save(loaded, path)


def _retrain(path: Path) -> None:
    """A sound checkpoint, but not of the network whose accuracy was recorded."""
    loaded = torch.load(path, weights_only=True)
    name = next(k for k in loaded["state_dict"] if k.endswith("fc.bias"))
    loaded["state_dict"][name] += torch.arange(10) * 1e3
    torch.save(loaded, path)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (Path.unlink, "gone"),
        (_cut, "damaged"),
        (_overwrite, "damaged"),
        (_forget, "damaged"),
        (_shrink, "damaged"),
        (_retrain, "the study recorded"),
    ],
)
def test_bad_checkpoint_leaves_the_earlier_best(
    copied: Sweep, damage: Callable[[Path], None], said: str
) -> None:
    trial = select_trial(copied, "knee")
    damage(Path(copied.folder) / "trials" / str(trial.number) / CHECKPOINT)
    before = contents(Path(copied.folder))
    with pytest.raises(UserError, match=said) as caught:
        export_best(copied, "knee")
    assert str(caught.value).startswith(f"select={trial.variant}: ")
    assert "\n" not in str(caught.value)
    assert contents(Path(copied.folder)) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(16, "Device or resource busy")])
def test_the_earlier_export_is_there_until_the_new_one_is(
    error: BaseException, copied: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a killed one left its folder, of which a day later nobody is at work."""
    folder = Path(copied.folder)
    before, real = contents(folder / "best"), Path.rename
    for name, age in ((".best-old", 25), (".best-new", 1)):
        (folder / name).mkdir()
        os.utime(folder / name, (time.time() - 3600 * age,) * 2)

    def fails_once(path: Path, target: Path) -> Path:
        if target.name == "best":
            monkeypatch.setattr(Path, "rename", real)
            raise error
        return real(path, target)

    monkeypatch.setattr(Path, "rename", fails_once)
    said = "^run=.*/run: Device or resource busy; valid" if error.args else None
    with pytest.raises(UserError if error.args else KeyboardInterrupt, match=said):
        export_best(copied, "knee")
    assert contents(folder / "best") == before
    assert [path.name for path in folder.glob(".best-*")] == [".best-new"]


@pytest.mark.parametrize("kind", ["link", "file"])
def test_whatever_stands_in_its_place_gives_way(kind: str, copied: Sweep) -> None:
    best, elsewhere = Path(copied.folder, "best"), Path(copied.folder, "elsewhere")
    best.rename(elsewhere)
    before = contents(elsewhere)
    best.symlink_to(elsewhere) if kind == "link" else best.write_text("mine")
    export_best(copied, "knee")
    assert best.is_dir()
    assert not best.is_symlink()
    assert contents(best).keys() == before.keys()
    assert contents(elsewhere) == before, "what it led to is nobody's business"
