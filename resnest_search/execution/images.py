"""The images of a sweep: read before anything is measured, and the same ones on every resume."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from resnest_search.data import resolve
from resnest_search.data.digest import ImageSet, Progress, difference
from resnest_search.errors import UserError
from resnest_search.schema import SweepConfig
from resnest_search.search import Space

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
    data, found = read_images(data, progress)
    data = resolve(dataclasses.replace(data, train_images=config.data.train_images))
    return dataclasses.replace(config, data=data), found


def noted_images(images: ImageSet) -> tuple[str, dict[str, Any]]:
    """Key and value of the note that a study keeps of its images."""
    return _NOTE, {"digest": images.digest, "groups": images.groups}


def check_unchanged(config: SweepConfig, notes: Mapping[str, Any], progress: Progress) -> str:
    """Compare the images with those that a sweep began with; returns a line worth saying, or "".

    Raises:
        UserError: they are others.
    """
    if config.trial.name == "table":
        return ""
    noted = notes.get(_NOTE)
    if not noted:
        return "The study has no digest of its images, so that they cannot be compared."
    from resnest_search.data.reading import current_set

    found = current_set(config.data, progress)
    if found.digest == noted["digest"]:
        return ""
    raise UserError(
        f"data.root: {config.data.root!r}: not the images that the sweep began with, "
        f"{difference(noted['groups'], found.groups)}; valid: those images, or a new sweep"
    )
