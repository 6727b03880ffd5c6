"""``model.pretrained`` before a sweep starts: found, read, and held against every network."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnest_search.conditions import mapped
from resnest_search.configuration.schema import SweepConfig
from resnest_search.errors import UserError
from resnest_search.space import Space, configured

if TYPE_CHECKING:
    import torch

__all__ = ["absolute_pretrained", "check_pretrained"]

_KEY = "model.pretrained"


def absolute_pretrained(config: SweepConfig) -> SweepConfig:
    """The configuration with its files of weights made absolute: workers start elsewhere."""
    model = dataclasses.replace(config.model, pretrained=_absolute(config.model.pretrained))
    space = mapped(config.search.space, _KEY, _absolute)
    first = [_named(entry) for entry in config.search.first]
    search = dataclasses.replace(config.search, space=space, first=first)
    rows = [_of_row(row) for row in config.rows]
    return dataclasses.replace(config, model=model, search=search, rows=rows)


def _of_row(row: Any) -> Any:
    return {name: _named(of) for name, of in row.items()} if isinstance(row, dict) else row


def _named(entry: Any) -> Any:
    return mapped(entry, _KEY, _absolute) if isinstance(entry, dict) else entry


def check_pretrained(config: SweepConfig, space: Space) -> None:
    """Every network of the space can start from the file that it is given.

    The data's classes are resolved. Reads each file once and builds no weights.

    Raises:
        UserError: a file cannot be read, or does not fit one of the networks.
    """
    given = {configured(config, candidate)[0].pretrained for candidate in space.networks}
    for path in given - {None}:
        _check_file(str(path))
    if given == {None}:
        return
    import torch  # for seconds, so that a misspelt path is answered before

    from resnest_search.models.build import build
    from resnest_search.models.weights import pretrained_state

    files: dict[str, dict[str, torch.Tensor]] = {}
    for candidate in space.networks:
        model, data, _ = configured(config, candidate)
        path = model.pretrained
        if path is None:
            continue
        if path not in files:
            files[path] = _shapes(path)
        with torch.device("meta"):
            network = build(
                candidate.built, model, in_channels=data.channels, num_classes=data.classes or 1
            )
        try:
            pretrained_state(network, files[path])
        except ValueError as error:
            network_name = f"{candidate.variant} of model={model.name}"
            hint = "; a file fits one variant" if len(space.networks) > 1 else ""
            raise UserError(f"{_KEY}={path}: {network_name}: {error}{hint}") from None


def _check_file(path: str) -> None:
    if not os.path.isfile(path):
        raise UserError(f"{_KEY}={path}: is no file")
    try:
        with open(path, "rb"):
            return
    except OSError as error:
        raise UserError(f"{_KEY}={path}: cannot be read: {error.strerror}") from None


def _shapes(path: str) -> dict[str, torch.Tensor]:
    """Names and shapes of a file's weights; the values are for the workers."""
    from resnest_search.models.weights import read_weights

    try:
        state = read_weights(Path(path))
    except ValueError as error:
        raise UserError(f"{_KEY}={path}: {error}") from None
    return {name: tensor.to("meta") for name, tensor in state.items()}


def _absolute(path: Any) -> Any:
    """A path made absolute; null and what is no path stay for the schema's checks."""
    return os.path.abspath(os.path.expanduser(path)) if isinstance(path, str) else path
