"""The images of a sweep: read before anything is measured, and the same ones on every resume."""

from __future__ import annotations

import dataclasses
from typing import Any

from resnest_search.configuration.schema import SweepConfig
from resnest_search.data import resolve
from resnest_search.data.digest import ImageSet, Progress, difference
from resnest_search.data.resolve import FOLDERS
from resnest_search.errors import UserError
from resnest_search.metrics import SHARES
from resnest_search.space import Space
from resnest_search.study.study import SweepStudy

__all__ = ["check_unchanged", "find_images", "noted_images"]

_NOTE = "images"


def find_images(
    config: SweepConfig, space: Space, progress: Progress
) -> tuple[SweepConfig, ImageSet]:
    """What the images of a checked sweep are, each of them read once unless that is remembered.

    Raises:
        UserError: images cannot be read, or too few are left.
    """
    from resnest_search.data.reading import read_images  # with Pillow

    data = config.data
    varied = any("data.train_images" in candidate.others for candidate in space.candidates or ())
    if varied or space.candidates is None:  # then any image may be one to train on
        data = dataclasses.replace(data, train_images=None)
    means = {*SHARES} - {"accuracy"}  # over classes
    data, found = read_images(data, progress, not means.isdisjoint(config.search.objectives))
    data = resolve(dataclasses.replace(data, train_images=config.data.train_images))
    return dataclasses.replace(config, data=data), found


def noted_images(images: ImageSet) -> tuple[str, dict[str, Any]]:
    """Key and value of the note that a study keeps of its images."""
    return _NOTE, {"digest": images.digest, "groups": images.groups, "names": images.names}


def check_unchanged(
    config: SweepConfig, study: SweepStudy, progress: Progress, otherwise: str = "a new sweep"
) -> str:
    """Compare the images with those that a sweep began with; returns a line worth saying, or "".

    Of a study without their digest, what its trials answered names the validation images.
    ``otherwise`` is what to do with others.

    Raises:
        UserError: they are others.
    """
    if config.trial.name == "table" or config.data.name == "digits":  # which never change
        return ""
    noted = study.notes.get(_NOTE)
    from resnest_search.data.reading import current_set, validation_digest

    if not noted:
        known = _answered(study) if config.data.name in FOLDERS else set()
        if known and not any(validation_digest(config.data).startswith(one) for one in known):
            raise UserError(
                f"data.root: {config.data.root!r}: the validation images are not those that the "
                f"sweep began with; valid: those images, or {otherwise}"
            )
        return "The study has no digest of its images, so that their content cannot be compared."
    found = current_set(config.data, progress)
    if found.digest == noted["digest"]:
        return ""
    raise UserError(
        f"data.root: {config.data.root!r}: not the images that the sweep began with, "
        f"{difference(noted['groups'], found.groups)}; valid: those images, or {otherwise}"
    )


def _answered(study: SweepStudy) -> set[str]:
    """The first digits of the digests of the validation images that trials have answered."""
    curves = (trial.user_attrs.get("curve", ()) for trial in study.trials())
    texts = (epoch.get("correct") or "" for curve in curves for epoch in curve)
    return {text.partition(":")[0] for text in texts if ":" in text}
