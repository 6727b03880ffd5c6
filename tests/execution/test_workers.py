"""Several processes for one trial, as Ray starts them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from command_line import SMALL, Command, Done, logged, started, study, sweep_file
from optuna.trial import TrialState
from torch import nn
from torch.nn.functional import cross_entropy

from resnest_search.configuration.compose import from_record
from resnest_search.configuration.schema import SweepConfig
from resnest_search.data import ImageData
from resnest_search.data import build as build_data
from resnest_search.models.build import build as build_network
from resnest_search.study.answers import unpack
from resnest_search.study.record import Epoch
from resnest_search.training import Run, fit, load_weights
from resnest_search.variant import Variant

VARIANT = "2s1x64d"
SMOOTHING = 0.1  # of the recipe
# Dealt out to two workers in batches of 16, the first gets three batches and the second two.
UNEVEN = 65
EPOCHS = 3


@pytest.fixture(scope="module")
def pairs(swept: tuple[Path, Done]) -> Path:
    """A sweep of two trials, one after the other, each trained by two processes.

    The first learns nothing, so that its training loss can be worked out afterwards. Once it has
    trained for an epoch, its second process is killed, and of the other trial then the first one.
    """
    cwd, done = swept
    assert done.code == 0, done
    return cwd / "out"


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """Where the sweep of `pairs` ran, and its end."""
    cwd = tmp_path_factory.mktemp("pairs")
    sweep_file(cwd, {"variant": ["2s1x64d"], "train.learning_rate": [0.0, 0.8]})
    words = (
        "search/sampler=grid",
        "search/pruner=none",
        f"train.epochs={EPOCHS}",
        f"data.val_images={UNEVEN}",
        "resources.workers_per_trial=2",
        "resources.cpus_per_worker=1",
    )
    with started(cwd, "sweep=tiny", *SMALL, *words, "run=out") as command:
        command.until(lambda: bool(logged(cwd / "out", "finished").get(0)))
        for peer in peers(command):
            peer.kill()
        command.until(lambda: bool(logged(cwd / "out", "finished").get(1)))
        for first in command.training():
            first.kill()
        return cwd, command.wait()


def peers(command: Command) -> list[psutil.Process]:
    """The further processes of its trials."""
    found = []
    for process in command.descendants:
        with contextlib.suppress(psutil.Error):  # it has just ended
            found += [process] if "ray::_Peer" in " ".join(process.cmdline()) else []
    return found


def test_a_trial_that_loses_a_process_goes_on_from_its_checkpoint(
    swept: tuple[Path, Done],
) -> None:
    _, done = swept
    for number in (0, 1):  # of the one a further process, of the other the first
        assert f"trial {number}: its worker was lost (1)" in done.out
        assert f"trial {number}: continues after epoch" in done.out


def test_two_workers_complete_one_trial_after_the_other(pairs: Path) -> None:
    trials = study(pairs).trials
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 2
    assert [sorted(t.intermediate_values) for t in trials] == [[1, 2, 3]] * 2
    assert logged(pairs, "finished") == {0: [1, 2, 3], 1: [1, 2, 3]}


def test_two_workers_count_every_validation_image_once(pairs: Path) -> None:
    config, data = parts(pairs)
    for trial in study(pairs).trials:
        assert {e["images"] for e in trial.user_attrs["curve"]} == {UNEVEN}
        trained = network(config, pairs / "trials" / str(trial.number)).eval()
        right, loss = 0, 0.0
        with torch.inference_mode():
            for images, labels in data.val_dataloader():
                logits = trained(images)
                right += int((logits.argmax(1) == labels).sum())
                loss += float(cross_entropy(logits, labels, reduction="sum"))
        last = trial.user_attrs["curve"][-1]
        assert last["accuracy"] == pytest.approx(right / UNEVEN, abs=1e-6)
        assert last["loss"] == pytest.approx(loss / UNEVEN, rel=1e-4)


def test_answers_of_two_workers_are_in_the_order_of_the_images(pairs: Path) -> None:
    config, data = parts(pairs)
    for trial in study(pairs).trials:
        trained = network(config, pairs / "trials" / str(trial.number)).eval()
        with torch.inference_mode():
            right = [trained(x).argmax(1) == y for x, y in data.val_dataloader()]
        found = unpack(trial.user_attrs["curve"][-1]["correct"], UNEVEN)
        assert found is not None
        assert found.right.tolist() == torch.cat(right).tolist()
        assert 0 < found.right.sum() < UNEVEN


def test_training_loss_is_the_mean_over_both_workers(pairs: Path) -> None:
    (still,) = (t for t in study(pairs).trials if t.params["train.learning_rate"] == 0)
    config, data = parts(pairs)
    unchanged = network(config, pairs / "trials" / str(still.number)).train()
    for entry in still.user_attrs["curve"]:
        loader = data.train_dataloader()  # whole batches, by which both have normalised
        loader.sampler.set_epoch(entry["epoch"] - 1)  # type: ignore[attr-defined]
        with torch.no_grad():
            losses = [
                float(cross_entropy(unchanged(x), y, label_smoothing=SMOOTHING)) for x, y in loader
            ]
        assert entry["train_loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_two_workers_train_as_one_does(pairs: Path, tmp_path: Path) -> None:
    """But for the order in which numbers are added."""
    config, _ = parts(pairs)
    (both,) = (t for t in study(pairs).trials if t.params["train.learning_rate"] > 0)
    curves: list[Sequence[Epoch]] = []

    def keep(curve: Sequence[Epoch], note: str) -> bool:
        curves.append(curve)
        return True

    recipe = replace(config.train, learning_rate=0.8)
    fit(
        Run(0, VARIANT, config.model, config.data, recipe, both.user_attrs["seed"], str(tmp_path)),
        keep,
    )
    for ours, single in zip(both.user_attrs["curve"], curves[-1], strict=True):
        assert ours["train_loss"] == pytest.approx(single.train_loss, rel=1e-3)
        assert ours["loss"] == pytest.approx(single.loss, rel=1e-2)
        assert abs(ours["accuracy"] - single.accuracy) <= 1.5 / UNEVEN


def parts(folder: Path) -> tuple[SweepConfig, ImageData]:
    """Configuration and images of the run."""
    config = from_record(study(folder).user_attrs["config"])
    return config, build_data(config.data, config.train.batch_size, 0)


def network(config: SweepConfig, trial: Path) -> nn.Module:
    """A trial's network as its checkpoint has it."""
    made = build_network(Variant.parse(VARIANT), config.model, in_channels=1, num_classes=10)
    made.load_state_dict(load_weights(trial))
    return made
