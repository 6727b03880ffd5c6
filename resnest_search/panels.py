"""The panels that show a sweep: those of dashboards/*.yaml, made out for its objectives.

The report and the tracked summary draw the same list, so that they cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from math import isfinite
from pathlib import Path
from typing import Any

import yaml

from resnest_search.configuration.shipped import shipped_folder
from resnest_search.errors import UserError
from resnest_search.metrics import COSTS, METRICS, TRAINED, metric_of
from resnest_search.study.record import Sweep

__all__ = [
    "KINDS",
    "SHIPPED",
    "Panel",
    "dashboard_panels",
    "drawn",
    "panels_of",
    "read_panel",
    "read_panels",
]

SHIPPED = "sweep"  # the dashboard that is shown where no other is named

# the axes that a kind must have and those that it may have
KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "front": (("x", "y"), ("size",)),
    "scatter": (("x", "y"), ("size",)),
    "objectives": ((), ()),
    "curves": ((), ("y",)),
    "parallel": ((), ()),
    "importance": ((), ()),
    "hypervolume": ((), ()),
    "timeline": ((), ()),
    "ledger": ((), ()),
    "rows": ((), ()),
    "table": ((), ()),
    "config": ((), ()),
}
_TITLED = ("objectives", "curves")  # by their axes
_PLOTS = ("front", "scatter")


@dataclass(frozen=True)
class Panel:
    """One panel; x, y and size are names of metrics.METRICS, empty where the kind has none.

    An empty title is made of the axes.
    """

    kind: str
    title: str = ""
    x: str = ""
    y: str = ""
    size: str = ""
    note: str = ""


def read_panels(path: str | Path | None = None) -> tuple[Panel, ...]:
    """Read and check a specification; the shipped dashboards/sweep.yaml by default.

    Raises:
        UserError: the file cannot be read or a panel is wrong; the message names which.
    """
    path = Path(path) if path else shipped_folder("dashboards") / f"{SHIPPED}.yaml"
    try:
        spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from None
    panels = spec.get("panels") if isinstance(spec, dict) else None
    if not isinstance(panels, list) or not panels:
        raise UserError(f"{path}: expected a key 'panels' with a list of panels")
    return tuple(
        read_panel(entry, f"{path}, panel {number}") for number, entry in enumerate(panels, start=1)
    )


def panels_of(sweep: Sweep) -> tuple[Panel, ...]:
    """The panels of the dashboard that the sweep's configuration names.

    Raises:
        UserError: there is none of that name, or it is wrong.
    """
    return dashboard_panels(sweep.config.get("dashboard", SHIPPED))


def dashboard_panels(name: str) -> tuple[Panel, ...]:
    """The panels of ``./dashboards/NAME.yaml``, else of the shipped one of that name.

    Raises:
        UserError: there is none of that name, or it is wrong.
    """
    folders = (shipped_folder("dashboards"), Path.cwd() / "dashboards")
    found = {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}
    if name not in found:
        raise UserError(f"dashboard={name}: there is none; valid: {', '.join(found)}")
    return read_panels(found[name])


def drawn(panels: Iterable[Panel], sweep: Sweep) -> list[Panel]:
    """The panels of this sweep: axes as its objectives give them, each plot once, none empty."""
    found: list[Panel] = []
    for panel in panels:
        for made in _made_out(panel, sweep):
            if not any(_same(made, other) for other in found) and _has_content(made, sweep):
                found.append(made)
    return found


def _same(panel: Panel, other: Panel) -> bool:
    """Whether one of them is enough: two tables, or plots of the same axes."""
    plots = panel.kind in _PLOTS and other.kind in _PLOTS
    tables = panel.kind == other.kind == "table"
    return tables or (plots and {panel.x, panel.y} == {other.x, other.y})


def _made_out(panel: Panel, sweep: Sweep) -> list[Panel]:
    if panel.kind == "objectives":
        return _fronts(panel, sweep)
    if panel.kind == "curves":
        y = panel.y or sweep.reported
        return [replace(panel, y=y, title=panel.title or f"{_noun(y)} after each epoch")]
    return [panel]


def _fronts(panel: Panel, sweep: Sweep) -> list[Panel]:
    """What is trained against each other objective, in their order; a third one is the size.

    Of a single objective there is no front: it stands against the first cost that is known.
    """
    y = sweep.reported if sweep.reported in sweep.objectives else sweep.objectives[0]
    others = [name for name in sweep.objectives if name != y]
    if not others:
        known = {name for trial in sweep.trials for name in trial.costs} - {y}
        x = next((name for name in ("latency_ms", *COSTS, *sweep.own_costs) if name in known), "")
        return [Panel("scatter", f"{_noun(y)} against {metric_of(x).noun}", x, y)] if x else []
    sizes = [*others[1:2], *[""] * len(others)]
    notes = [panel.note, *[""] * len(others)]
    return [
        Panel("front", f"{_noun(y)} against {metric_of(x).noun}", x, y, size, note)
        for x, size, note in zip(others, sizes, notes, strict=False)
    ]


def _noun(name: str) -> str:
    return metric_of(name).noun.capitalize()


def _has_content(panel: Panel, sweep: Sweep) -> bool:
    """Whether anything would be seen."""
    if panel.kind == "table":
        return bool(sweep.trials)
    if panel.kind == "rows":
        return bool(sweep.rows)
    if panel.kind == "curves":
        values = (getattr(epoch, panel.y) for trial in sweep.trials for epoch in trial.curve)
        return any(value is not None and isfinite(value) for value in values)
    if panel.kind not in _PLOTS:
        return True
    axes = ([trial.metric(panel.x), trial.metric(panel.y)] for trial in sweep.trials)
    return any(all(v is not None and isfinite(v) for v in pair) for pair in axes)


def read_panel(entry: Any, where: str) -> Panel:
    """One entry of a specification, checked.

    Raises:
        UserError: it is wrong; the message begins with ``where``.
    """
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
    for key in ("title", *needed) if kind not in _TITLED else needed:
        if not entry.get(key):
            raise UserError(f"{where}: {kind} needs {key!r}")
    allowed = TRAINED if kind == "curves" else tuple(METRICS)
    for key in {*needed, *optional} & entry.keys():
        if entry[key] not in allowed:
            raise UserError(f"{where}: {key} {entry[key]!r} is none of {', '.join(allowed)}")
    return Panel(**entry)
