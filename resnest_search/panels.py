"""The panels that show a sweep, read from dashboards/*.yaml.

The report and the tracked summary draw the same list, so that they cannot drift apart.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from resnest_search.configuration.shipped import shipped_folder
from resnest_search.errors import UserError
from resnest_search.metrics import METRICS, TRAINED

__all__ = ["KINDS", "Panel", "read_panels"]

# the axes that a kind must have and those that it may have
KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "front": (("x", "y"), ("size",)),
    "scatter": (("x", "y"), ("size",)),
    "curves": (("y",), ()),
    "table": ((), ()),
    "config": ((), ()),
}


@dataclass(frozen=True)
class Panel:
    """One panel; x, y and size are names of metrics.METRICS, empty where the kind has none."""

    kind: str
    title: str
    x: str = ""
    y: str = ""
    size: str = ""
    note: str = ""


def read_panels(path: str | Path | None = None) -> tuple[Panel, ...]:
    """Read and check a specification; the shipped dashboards/sweep.yaml by default.

    Raises:
        UserError: the file cannot be read or a panel is wrong; the message names which.
    """
    path = Path(path) if path else shipped_folder("dashboards") / "sweep.yaml"
    try:
        spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from None
    panels = spec.get("panels") if isinstance(spec, dict) else None
    if not isinstance(panels, list) or not panels:
        raise UserError(f"{path}: expected a key 'panels' with a list of panels")
    return tuple(
        _panel(entry, f"{path}, panel {number}") for number, entry in enumerate(panels, start=1)
    )


def _panel(entry: Any, where: str) -> Panel:
    if not isinstance(entry, dict):
        raise UserError(f"{where}: expected kind, title and axes, not {entry!r}")
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise UserError(f"{where}: kind {kind!r} is none of {', '.join(KINDS)}")
    needed, optional = KINDS[kind]
    known = {field.name for field in fields(Panel)} - {"x", "y", "size"} | {*needed, *optional}
    for key, value in entry.items():
        if key not in known:
            raise UserError(f"{where}: {kind} knows no {key!r}, only {', '.join(sorted(known))}")
        if not isinstance(value, str):
            raise UserError(f"{where}: {key} must be text, not {value!r}")
    for key in ("title", *needed):
        if not entry.get(key):
            raise UserError(f"{where}: {kind} needs {key!r}")
    allowed = TRAINED if kind == "curves" else tuple(METRICS)
    for key in {*needed, *optional} & entry.keys():
        if entry[key] not in allowed:
            raise UserError(f"{where}: {key} {entry[key]!r} is none of {', '.join(allowed)}")
    return Panel(**entry)
