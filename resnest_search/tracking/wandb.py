"""A sweep on Weights & Biases: a run for each trial and one that sums up, written once.

A run is written from a trial's record when the trial is over, so it tells what the study
tells. Nothing here may stop a sweep: what fails is reported in one line.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnest_search.errors import UserError
from resnest_search.files import write_atomically
from resnest_search.panels import Panel, drawn, read_panels
from resnest_search.redact import public_config, public_text
from resnest_search.study.record import OPEN, Sweep, TrialRecord
from resnest_search.tracking.tracked import (
    Rows,
    chart_table,
    curve_lines,
    epoch_row,
    sweep_summary,
    trial_config,
    trial_summary,
    trial_table,
)

if TYPE_CHECKING:
    import wandb

__all__ = ["MODES", "Tracker"]

MODES = ("offline", "online", "none")
_PROJECT = "resnest-search"
_EPOCH_METRICS = ("accuracy", "loss", "train_loss", "seconds")


class Tracker:
    """Writes each trial that is over, and at the end the sweep, as W&B runs.

    Offline runs lie in ``<folder>/wandb/offline-run-*``; ``wandb sync`` uploads them. Which
    trials were written stands in ``<folder>/wandb/written.json``, so a resumed sweep may
    hand in every trial again. Online runs fall back to offline ones at the first failure.

    Args:
        mode: one of MODES; ``none`` does nothing.
        folder: the run's.
        group: name under which W&B groups the runs, best the sweep and its start time.
        config: the resolved configuration, as nested plain data; what identifies the user or
            machine is left out.
        warn: called with one line where tracking fails.

    Raises:
        UserError: the mode is unknown.
    """

    def __init__(
        self,
        mode: str,
        folder: str | Path,
        group: str,
        config: Mapping[str, Any],
        warn: Callable[[str], None] = print,
    ) -> None:
        if mode not in MODES:
            raise UserError(f"tracking={mode!r} is none of {', '.join(MODES)}")
        self._mode = mode
        self._folder = Path(folder).absolute()
        self._group = group
        self._config = public_config(config)
        self._warn = warn
        self._marker = self._folder / "wandb" / "written.json"
        self._written = _Written()
        if mode != "none":
            importlib.import_module("wandb")  # for half a second: not while trials wait
            self._written = _Written.read(self._marker)

    def trial(self, record: TrialRecord) -> None:
        """Write a trial that is over, unless it was written before or never began."""
        if record.number < 0 or record.state in OPEN or record.number in self._written.trials:
            return
        config = {**trial_config(record), "sweep": self._config}

        def fill(run: wandb.Run) -> None:
            run.define_metric("epoch")
            for name in _EPOCH_METRICS:
                run.define_metric(name, step_metric="epoch")
            for epoch in record.curve:
                run.log(epoch_row(epoch))
            run.summary.update(trial_summary(record))

        if self._write(f"t{record.number}", record.name, "trial", config, fill):
            self._written.trials.add(record.number)
            self._save()

    def close(self, sweep: Sweep) -> None:
        """Write what is not yet written and one run with all trials, the front and the panels.

        A sweep that has not changed since it was last closed is not written again.
        """
        if self._mode == "none":
            return
        for record in sweep.trials:
            self.trial(record)
        state = hashlib.sha256(repr(sweep.trials).encode()).hexdigest()[:12]
        if state in self._written.summaries:
            return
        config = {
            "question": sweep.question,
            "objectives": list(sweep.objectives),
            "sweep": self._config,
        }
        kind = "interrupted" if sweep.interrupted else "summary"
        name = f"{sweep.name}: {kind} after {sweep.epochs} epochs"
        if self._write(f"s{state}", name, "summary", config, lambda run: _sum_up(run, sweep)):
            self._written.summaries.append(state)
            self._save()

    def _write(
        self,
        suffix: str,
        name: str,
        job: str,
        config: dict[str, Any],
        fill: Callable[[wandb.Run], None],
    ) -> bool:
        if self._mode == "none":
            return False
        try:
            self._write_run(self._mode, suffix, name, job, config, fill)
            return True
        except Exception as error:
            if self._mode == "online":
                self._warn(
                    f"W&B online failed ({_one_line(error)}); runs go to "
                    f"{self._folder / 'wandb'} for wandb sync"
                )
                self._mode = "offline"
                _let_go()
                return self._write(suffix, name, job, config, fill)
            self._warn(f"W&B: {name} was not tracked ({_one_line(error)})")
            return False

    def _write_run(
        self,
        mode: str,
        suffix: str,
        name: str,
        job: str,
        config: dict[str, Any],
        fill: Callable[[wandb.Run], None],
    ) -> None:
        import wandb

        run_id = f"{self._written.sweep}-{suffix}"
        self._folder.mkdir(parents=True, exist_ok=True)
        for half_written in (self._folder / "wandb").glob(f"*run-*-{run_id}"):
            shutil.rmtree(half_written)  # by a driver that was killed before it noted the run
        if not self._marker.exists():
            self._save()  # fixes the ids before the first run has one
        settings = _settings(mode, self._folder)
        wandb.setup(settings=settings)  # else the login speaks, and asks, in spite of silent
        run = wandb.init(
            id=run_id,
            dir=str(self._folder),
            group=self._group,
            name=name,
            job_type=job,
            config=_plain(config),
            settings=settings,
            reinit="create_new",
            project=os.environ.get("WANDB_PROJECT") or _PROJECT,
        )
        with _data_in(Path(run.settings.sync_dir)):
            try:
                fill(run)
            except BaseException:
                run.finish(exit_code=1)
                raise
            run.finish()
        _remove_logs(self._folder / "wandb", run_id)

    def _save(self) -> None:
        try:
            write_atomically(self._marker, self._written.text())
        except OSError as error:
            self._warn(f"W&B: {self._marker} cannot be written ({_one_line(error)})")


@dataclass
class _Written:
    """What has been written: kept beside the runs, since offline runs cannot be resumed."""

    sweep: str = field(default_factory=lambda: secrets.token_hex(4))  # begins every run's id
    trials: set[int] = field(default_factory=set)
    summaries: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> _Written:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return cls(str(found["sweep"]), set(found["trials"]), list(found["summaries"]))
        except (OSError, ValueError, KeyError, TypeError):
            return cls()

    def text(self) -> str:
        return json.dumps({**asdict(self), "trials": sorted(self.trials)}, indent=1) + "\n"


def _settings(mode: str, folder: Path) -> wandb.Settings:
    """Silent, and without code, git, machine, user, environment and console."""
    import wandb

    settings = wandb.Settings(
        mode="online" if mode == "online" else "offline",
        root_dir=str(folder),
        silent=True,
        console="off",
        symlink=False,
        save_code=False,
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        host="-",
        username="-",
        email="-",
        program="resnest_search",
        program_relpath="resnest_search",
        program_abspath="resnest_search",
        run_notes="",
        x_executable="python",
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_disable_viewer=True,
        x_save_requirements=False,
        init_timeout=30,
        login_timeout=5,
        force=True,
        x_graphql_retry_max=2,
    )
    if hasattr(settings, "finish_timeout"):  # else a lost network would hold the sweep up
        settings.finish_timeout = 120
        settings.finish_timeout_raises = True
    return settings


@contextmanager
def _data_in(folder: Path) -> Iterator[None]:
    """Keep the tables' files, which wandb sync uploads, in the run that they belong to."""
    before = os.environ.get("WANDB_DATA_DIR")
    os.environ["WANDB_DATA_DIR"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["WANDB_DATA_DIR"]
        else:
            os.environ["WANDB_DATA_DIR"] = before


def _remove_logs(folder: Path, run_id: str) -> None:
    """W&B's own logs name the home folder, and nothing reads them."""
    for logs in folder.glob(f"*run-*-{run_id}/logs"):
        shutil.rmtree(logs, ignore_errors=True)


def _let_go() -> None:
    """End W&B's own process, which would hold the id of a run that failed."""
    import wandb

    try:
        wandb.teardown()
    except Exception:  # it failed before; a fresh one is started either way
        return


def _one_line(error: Exception) -> str:
    text = public_text(" ".join(str(error).split()))[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(config))
    return plain


def _sum_up(run: wandb.Run, sweep: Sweep) -> None:
    """Tables of all trials and of the front, and the charts of dashboards/sweep.yaml."""
    for number, panel in enumerate(drawn(read_panels(), sweep), start=1):
        if panel.kind == "table":
            members = trial_table(sweep, front_only=True)
            run.log({"trials": _table(trial_table(sweep)), "front": _table(members)})
        elif panel.kind == "curves" or (panel.x and chart_table(panel, sweep)[1]):
            run.log({f"panels/{number} {panel.title}": _chart(panel, sweep)})
    run.summary.update(sweep_summary(sweep))


def _table(table: Rows) -> wandb.Table:
    import wandb

    return wandb.Table(columns=table[0], data=table[1], allow_mixed_types=True)


def _chart(panel: Panel, sweep: Sweep) -> Any:
    import wandb

    if panel.kind == "curves":
        epochs, values, names = curve_lines(panel, sweep)
        return wandb.plot.line_series(epochs, values, names, title=panel.title, xname="epoch")
    title = f"{panel.title} (complete trials)"
    return wandb.plot.scatter(_table(chart_table(panel, sweep)), panel.x, panel.y, title=title)
