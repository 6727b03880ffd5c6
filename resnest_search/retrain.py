"""From a run's front to a training of its own: ``train source=FOLDER``."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from resnest_search.configuration.checks import (
    OWN_WEIGHTS,
    check_source,
    given,
    in_todays_words,
)
from resnest_search.configuration.compose import Base, from_record
from resnest_search.configuration.options import option_files
from resnest_search.configuration.schema import DataConfig, SweepConfig, TrainCommandConfig
from resnest_search.errors import UserError
from resnest_search.execution.recorded import recorded_sweep
from resnest_search.study.narrow import narrowed
from resnest_search.study.record import COMPLETE, Sweep, TrialRecord
from resnest_search.study.study import SweepStudy
from resnest_search.words import counted

__all__ = [
    "Chosen",
    "base_of",
    "check_images",
    "chosen",
    "gives_way",
    "kept_from",
    "may_have_seen",
]

_SPLIT = ("name", "root", "split_seed", "train_images", "val_images", "test_images")
_OTHER_IMAGES = ("data", "data.name", "data.root")  # who types one of these means others


@dataclass(frozen=True)
class Chosen:
    """A network of a run, and why it is that one, in words."""

    sweep: Sweep
    trial: TrialRecord
    why: str
    storage: str | None = None  # URL of its study's database now

    @property
    def origin(self) -> dict[str, Any]:
        """What the run that trains it records of it; where it lies is nobody's business."""
        return {
            "sweep": self.sweep.name,
            "run": Path(self.sweep.folder).name,
            "trial": self.trial.number,
            "candidate": self.trial.candidate,
            "chosen_as": self.why,
        }

    @property
    def weights(self) -> str:
        """The file of its trained weights.

        Raises:
            UserError: it is gone.
        """
        from resnest_search.training import CHECKPOINT

        path = Path(self.sweep.folder) / "trials" / str(self.trial.number) / CHECKPOINT
        if not path.is_file():
            raise UserError(
                f"model.pretrained={OWN_WEIGHTS}: the checkpoint is gone from "
                f"trials/{self.trial.number} of {self.sweep.folder}; valid: null, or a file"
            )
        return str(path)

    def __str__(self) -> str:
        origin = self.origin
        return (
            f"{self.trial.name}, {self.why} of {origin['sweep']} ({origin['run']}, trial "
            f"{origin['trial']}, {origin['candidate']})"
        )


def base_of(configs: Sequence[TrainCommandConfig], words: Sequence[str]) -> Base | None:
    """What the training of a run's network is composed on; None where no run is named.

    Args:
        configs: what the words compose alone.
        words: as typed.

    Raises:
        UserError: the words name a variant beside the run, or several networks, or none.
    """
    for config in configs:
        check_source(config)
    asked = {_asked(config) for config in configs}
    if len(asked) > 1:
        raise UserError(
            f"source={configs[0].source}: {counted(len(asked), 'choice')} of networks; valid "
            "with --multirun: one source, select, limits and weights"
        )
    if configs[0].source is None:
        return None
    if "variant" in typed_keys(words):
        raise UserError(
            f"variant={configs[0].variant}: source={configs[0].source} brings the variant; "
            f"valid: select={configs[0].variant}, or variant without source"
        )
    return _base(chosen(configs[0]))


def typed_keys(words: Sequence[str]) -> set[str]:
    """The keys and groups that words name."""
    return {word.lstrip("+~").partition("=")[0] for word in words}


def _base(found: Chosen) -> Base:
    from resnest_search.study.select import configured_as

    model, data, train = configured_as(found.sweep, found.trial)
    # Counted anew, so that another folder may have other classes.
    data = dataclasses.replace(in_todays_words(data), classes=None)
    measure = from_record(found.sweep.config).measure
    sections: dict[str, Any] = {"model": model, "data": data, "train": train, "measure": measure}
    groups = {name: dataclasses.asdict(section) for name, section in sections.items()}
    return Base(groups, {"variant": found.trial.variant, "seed": found.trial.seed})


def chosen(config: TrainCommandConfig) -> Chosen:
    """The network that ``source``, ``select``, ``limits`` and ``weights`` mean.

    Raises:
        UserError: the source is no run, replays a table, or has nothing complete that is meant.
    """
    return _chosen(*_asked(config))


def _asked(config: TrainCommandConfig) -> tuple[Any, ...]:
    limits, weights = (tuple(given(section).items()) for section in (config.limits, config.weights))
    return config.source, config.select, limits, weights, config.storage


@cache  # composed on, and then trained: the bootstrap of a large front takes seconds
def _chosen(
    source: str | None,
    select: str,
    limits: tuple[tuple[str, float], ...],
    weights: tuple[tuple[str, float], ...],
    storage: str | None,
) -> Chosen:
    sweep = recorded_sweep(source, storage, key="source")
    folder = sweep.folder
    complete = [trial for trial in sweep.trials if trial.state == COMPLETE]
    if sweep.replayed:
        raise UserError(
            f"source={folder}: replays a table, which says nothing of images and network; "
            "valid: variant=… with model=NAME, data=NAME and train=NAME"
        )
    if not complete:
        raise UserError(f"source={folder}: has no complete trial to choose from yet")
    from resnest_search.study.select import described, select_trial

    sweep = narrowed(sweep, dict(limits), dict(weights))
    return Chosen(sweep, select_trial(sweep, select), described(sweep, select), storage)


def kept_from(found: Chosen, config: SweepConfig, words: Sequence[str]) -> list[str]:
    """Lines on how the run changed its images where a recipe that is typed says nothing of it."""
    typed = typed_keys(words)
    option = next((w.partition("=")[2] for w in reversed(words) if w.startswith("train=")), "")
    path = option_files("train").get(option)
    if path is None:
        return []
    told = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("data") or {}
    plain = DataConfig()
    kept = {
        key: getattr(config.data, key)
        for key in ("policy", "erasing")
        if key not in told and not typed & {f"data.{key}", "data"}
    }
    off = {key: getattr(plain, key) for key in kept}
    return [
        f"data.{key}={value} is that of {found.trial.name}, since train={option} says nothing of "
        f"it; off by data.{key}={off[key]}"
        for key, value in kept.items()
        if value != off[key]
    ]


def may_have_seen(found: Chosen, config: SweepConfig) -> list[str]:
    """A line where its weights go on among images that are split otherwise."""
    from resnest_search.study.select import configured_as

    before = in_todays_words(configured_as(found.sweep, found.trial)[1])
    other = [key for key in _SPLIT if getattr(before, key) != getattr(config.data, key)]
    if not other:
        return []
    words = ", ".join(f"data.{key}={getattr(config.data, key)}" for key in other)
    return [
        f"{words}: the weights of {found.trial.name} may have been trained on some of the "
        "validation and test images, whose accuracy is then none of unseen ones"
    ]


def gives_way(found: Chosen, config: SweepConfig) -> list[str]:
    """Lines on what the sweep varied and this training has otherwise."""
    lines = []
    for key, value in found.trial.parameters.items():
        section, _, name = key.partition(".")
        now = getattr(getattr(config, section), name) if name else value
        if now != value:
            lines.append(f"{key}={now} is taken, not the {value} of {found.trial.name}")
    return lines


def check_images(found: Chosen, words: Sequence[str], progress: Any) -> str:
    """Compare the images with those of the source, unless others are meant.

    Returns:
        A line worth saying, or "".

    Raises:
        UserError: they have changed, and nobody has typed that others are to be learned from.
    """
    from resnest_search.execution.images import check_unchanged

    if typed_keys(words) & set(_OTHER_IMAGES):
        return ""
    with contextlib.closing(SweepStudy.open(Path(found.sweep.folder), found.storage)) as study:
        return check_unchanged(
            from_record(found.sweep.config),
            study,
            progress,
            "data.root=FOLDER to learn from others",
        )
