"""The panels as a saved workspace of W&B's; the door of wandb-workspaces, an extra."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from resnest_search.configuration.schema import TrackingConfig
from resnest_search.errors import UserError
from resnest_search.files import write_atomically
from resnest_search.panels import Panel, drawn, panels_of
from resnest_search.study.record import Sweep
from resnest_search.tracking.client import entity_of, mode_of, one_line, project_of
from resnest_search.tracking.tracked import config_columns, group_of

__all__ = ["FILE", "save_workspace"]

FILE = "workspace.json"
_FIRST = ("state", "accuracy", "accuracy_error")  # columns of the run table; the objectives follow


def save_workspace(sweeps: Sequence[Sweep], tracking: TrackingConfig) -> str:
    """Make the workspace of sweeps, or bring the one that was made before up to date.

    It shows the trials' runs of all, and the panels of the first one's dashboard, as far as W&B
    has their kind. Online it is saved in the project; what was saved, or would be, stands in the
    first one's folder.

    Returns:
        A line on where it is.

    Raises:
        UserError: the extra is not installed, or the file cannot be written.
    """
    if find_spec("wandb_workspaces") is None:
        raise UserError(
            "dashboard: wandb-workspaces is not installed; "
            "pip install -c constraints.txt '.[dashboard]'"
        )
    made = _workspace(sweeps, tracking)
    file = _file(sweeps)
    made._internal_name, made._internal_id = _known(file, made)
    mode = mode_of(tracking.name)
    said, reason = "", f"tracking={mode}"
    if mode == "online":
        try:
            said = _save(made)
        except Exception as error:
            reason = one_line(error)
    try:
        model = made._to_model().model_dump(by_alias=True, exclude_none=True, mode="json")
        write_atomically(file, json.dumps(model, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"run={file.parent}: {file.name}: {error.strerror or error}") from error
    return said or f"Workspace: {file}; not saved in W&B ({reason})"


def _file(sweeps: Sequence[Sweep]) -> Path:
    """Below the first run; of several with their names."""
    first, *others = (Path(sweep.folder) for sweep in sweeps)
    return first / f"{'-'.join([Path(FILE).stem, *(other.name for other in others)])}.json"


def _workspace(sweeps: Sequence[Sweep], tracking: TrackingConfig) -> Any:
    import wandb_workspaces.workspaces as ws

    first = sweeps[0]
    panels = drawn(panels_of(first), first)
    columns = [*_FIRST, *(name for name in first.objectives if name not in _FIRST)]
    names = " beside ".join(dict.fromkeys(sweep.name for sweep in sweeps))
    groups = json.dumps([group_of(sweep.name, sweep.folder) for sweep in sweeps])
    return ws.Workspace(
        entity=entity_of(tracking) or "",
        project=project_of(tracking),
        name=f"{names}: {first.question}"[:100] if first.question else names,
        sections=[ws.Section(name=names, panels=list(_panels(panels, first)), is_open=True)],
        runset_settings=ws.RunsetSettings(
            filters=f"Group in {groups} and JobType = 'trial'",
            pinned_columns=[f"summary:{name}" for name in columns],
        ),
    )


def _panels(panels: Iterable[Panel], sweep: Sweep) -> Iterable[Any]:
    """Those that W&B draws of runs; the table is its own run table, as is the configuration."""
    import wandb_workspaces.reports.v2.interface as wr

    for panel in panels:
        if panel.kind == "curves":
            yield wr.LinePlot(title=panel.title, x="epoch", y=[panel.y], max_runs_to_show=100)
        elif panel.x and panel.y:
            size = wr.SummaryMetric(panel.size) if panel.size else None
            x, y = wr.SummaryMetric(panel.x), wr.SummaryMetric(panel.y)
            yield wr.ScatterPlot(title=panel.title, x=x, y=y, z=size)
        elif panel.kind == "parallel":
            axes: list[Any] = [
                *(wr.Config(key) for key in config_columns(sweep)),
                *(wr.SummaryMetric(name) for name in sweep.objectives),
            ]
            columns = [wr.ParallelCoordinatesPlotColumn(axis) for axis in axes]
            yield wr.ParallelCoordinatesPlot(title=panel.title, columns=columns)
        elif panel.kind == "importance":
            yield from (wr.ParameterImportancePlot(with_respect_to=n) for n in sweep.objectives)


def _known(file: Path, made: Any) -> tuple[str, str]:
    """Name and id under which W&B has it, where it was saved before in that project."""
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
        if (before["entity"], before["project"]) == (made.entity, made.project):
            return str(before["name"]), str(before["id"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return "", ""


def _save(made: Any) -> str:
    import wandb

    wandb.setup(settings=wandb.Settings(silent=True))
    if not made.entity:
        made.entity = wandb.Api(timeout=10).default_entity
    made.save()
    return f"Workspace: {made.url}"
