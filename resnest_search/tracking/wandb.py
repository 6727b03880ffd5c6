"""A sweep on Weights & Biases: a run for each trial and one that sums up.

What is told is the study's. Offline a run is written from a trial's record when the trial is over;
online each epoch is sent as it comes. Nothing here may stop a sweep: what fails is reported in one
line.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import queue
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnest_search.configuration.schema import TrackingConfig
from resnest_search.files import write_atomically
from resnest_search.panels import drawn, panels_of
from resnest_search.redact import public_config, public_text
from resnest_search.report.figures import figure_of
from resnest_search.study.record import OPEN, RUNNING, Sweep, TrialRecord
from resnest_search.tracking.client import (
    Head,
    close_run,
    data_in,
    let_go,
    mode_of,
    one_line,
    open_run,
)
from resnest_search.tracking.tracked import (
    EPOCH_METRICS,
    Rows,
    epoch_row,
    sweep_summary,
    trial_config,
    trial_summary,
    trial_table,
)

if TYPE_CHECKING:
    import wandb

__all__ = ["Tracker"]

_TRIAL_S = 30  # for the last rows of a run
_SUMMARY_S = 120  # for tables and weights
_MOST_OF_NAME = 128  # characters of an artifact's
_STUCK_S = 180  # after so many without progress a sweep that is over waits no longer


class Tracker:
    """Tells W&B of each trial, and at the end of the sweep.

    Offline runs lie in ``<folder>/wandb/offline-run-*``; ``wandb sync`` uploads them. They cannot
    be resumed, so each is written once, when its trial is over. Online a trial's run is opened
    when the trial begins, closed while it is paused, and resumed as W&B's server has it: what that
    lacks is sent, by a thread of its own, so that no trial waits for a server. After the first
    failure runs are written offline.

    Which trials are written stands in ``<folder>/wandb/written.json``, so a resumed sweep may hand
    in every trial again.

    Args:
        tracking: the configuration's section. Where a key of it is not set, W&B's own environment
            variable counts; WANDB_MODE=disabled or offline goes before ``name``.
        folder: the run's.
        group: name under which W&B groups the runs, best the sweep and its start time.
        config: the resolved configuration, as nested plain data; what identifies the user or
            machine is left out.
        warn: called with one line where tracking fails, online from another thread.
    """

    def __init__(
        self,
        tracking: TrackingConfig,
        folder: str | Path,
        group: str,
        config: Mapping[str, Any],
        warn: Callable[[str], None] = print,
    ) -> None:
        self._tracking = tracking
        self._mode = mode_of(tracking.name)
        self._folder = Path(folder).absolute()
        self._group = group
        self._config = public_config(config)
        self._warn = warn
        self._marker = self._folder / "wandb" / "written.json"
        self._written = _Written()
        self._under_way: dict[int, _UnderWay] = {}
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._moved = 0.0  # when the thread last got something done
        if self._mode != "none":
            importlib.import_module("wandb")  # for half a second: not while trials wait
            self._written = _Written.read(self._marker)
        if self._mode == "online":
            self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
            self._thread.start()

    @property
    def live(self) -> bool:
        """Whether a trial is to be handed in after each epoch, and not only when it is over."""
        return self._mode == "online"

    def trial(self, record: TrialRecord) -> None:
        """Tell of a trial: online as far as it is, offline once it is over."""
        if self._mode != "none" and record.number >= 0 and (self._thread or _over(record)):
            self._do(partial(self._take, record))

    def close(self, sweep: Sweep) -> None:
        """Tell what is not yet told, and write one run with all trials, the front, the panels and
        the exported network. Nothing may be handed in afterwards.

        A sweep that has not changed since it was last closed is not written again.
        """
        if self._mode == "none":
            return
        for record in sweep.trials:
            self.trial(record)
        self._do(partial(self._summarize, sweep))
        if self._thread:
            self._tasks.put(None)
            self._see_off(self._thread)

    def _see_off(self, thread: threading.Thread) -> None:
        """Wait for what is left to send, as long as anything gets sent."""
        self._moved = time.monotonic()
        while thread.is_alive():
            thread.join(1)
            if thread.is_alive() and time.monotonic() - self._moved > _STUCK_S:
                where = self._folder / "wandb"
                self._warn(f"W&B: given up after {_STUCK_S} s without an answer; see {where}")
                return

    def _do(self, task: Callable[[], None]) -> None:
        if self._thread:
            self._tasks.put(task)
        else:
            task()

    def _work(self) -> None:
        while task := self._tasks.get():
            task()
            self._moved = time.monotonic()

    def _take(self, record: TrialRecord) -> None:
        if record.number in self._written.trials:
            return
        if self._mode == "online":
            try:
                self._send(record)
                return
            except Exception as error:
                self._fall_back(error)
        if _over(record):
            self._write_trial(record)

    def _send(self, record: TrialRecord) -> None:
        """Send what the server lacks of a trial, and close the run while nobody trains it."""
        going_on = record.state == RUNNING
        under_way = self._under_way.get(record.number)
        if under_way is None:
            if not _over(record) and not (going_on or record.curve):
                return
            run = self._open(self._head(record), resume=True)
            under_way = self._under_way[record.number] = _UnderWay(run, run.starting_step)
            _define(run)
            run.summary.update(record.costs)
        for epoch in record.curve:
            if epoch.epoch >= under_way.next_step:
                # A step that is not committed stays here until the next one comes.
                under_way.run.log(epoch_row(epoch), step=epoch.epoch, commit=True)
                under_way.next_step = epoch.epoch + 1
        if going_on:
            return
        if _over(record):
            under_way.run.summary.update(trial_summary(record))
        close_run(under_way.run)
        del self._under_way[record.number]
        if _over(record):
            self._note(record)

    def _write_trial(self, record: TrialRecord) -> None:
        def fill(run: wandb.Run) -> None:
            _define(run)
            for epoch in record.curve:
                run.log(epoch_row(epoch), step=epoch.epoch)
            run.summary.update(trial_summary(record))

        if self._write(self._head(record), fill):
            self._note(record)

    def _summarize(self, sweep: Sweep) -> None:
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
        head = Head(f"{self._written.sweep}-s{state}", name, self._group, "summary", config)
        best = self._folder / "best"
        if self._write(head, lambda run: _sum_up(run, sweep, best, self._warn)):
            self._written.summaries.append(state)
            self._save()

    def _write(self, head: Head, fill: Callable[[wandb.Run], None]) -> bool:
        """Write a whole run; whether that went well."""
        try:
            self._write_run(head, fill)
            return True
        except Exception as error:
            if self._mode == "online":
                self._fall_back(error)
                return self._write(head, fill)
            self._warn(f"W&B: {head.name} was not tracked ({one_line(error)})")
            return False

    def _write_run(self, head: Head, fill: Callable[[wandb.Run], None]) -> None:
        run = self._open(head)
        with data_in(Path(run.settings.sync_dir)):
            try:
                fill(run)
            except BaseException:
                run.finish(exit_code=1)
                raise
            close_run(run)

    def _open(self, head: Head, resume: bool = False) -> wandb.Run:
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self._marker.exists():
            self._save()  # fixes the ids before the first run has one
        patience_s = _TRIAL_S if head.job == "trial" else _SUMMARY_S
        return open_run(self._mode, self._tracking, self._folder, head, patience_s, resume)

    def _fall_back(self, error: Exception) -> None:
        """Write offline from now on; what was sent in part is written whole once it is over."""
        self._warn(
            f"W&B online failed ({one_line(error)}); runs go to "
            f"{self._folder / 'wandb'} for wandb sync"
        )
        self._mode = "offline"
        self._under_way.clear()
        let_go()

    def _head(self, record: TrialRecord) -> Head:
        """Of a trial's run: its id has the candidate's, and is the trial's own, since a candidate
        may be trained with several seeds.
        """
        identity = f"{self._written.sweep}-{record.candidate}-t{record.number}"
        config = {**trial_config(record), "sweep": self._config}
        return Head(identity, public_text(record.name), self._group, "trial", config)

    def _note(self, record: TrialRecord) -> None:
        self._written.trials.add(record.number)
        self._save()

    def _save(self) -> None:
        try:
            write_atomically(self._marker, self._written.text())
        except OSError as error:
            self._warn(f"W&B: {self._marker} cannot be written ({one_line(error)})")


@dataclass
class _UnderWay:
    """A run that is open, and the first step that W&B has not been given."""

    run: wandb.Run
    next_step: int


def _over(record: TrialRecord) -> bool:
    return record.state not in OPEN


def _define(run: wandb.Run) -> None:
    """Epochs are the axis of what training reports."""
    run.define_metric("epoch")
    for name in EPOCH_METRICS:
        run.define_metric(name, step_metric="epoch")


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


def _sum_up(run: wandb.Run, sweep: Sweep, best: Path, warn: Callable[[str], None]) -> None:
    """Tables of all trials and of the front, the figures of the page, the winner."""
    members = trial_table(sweep, front_only=True)
    run.log({"trials": _table(trial_table(sweep)), "front": _table(members)})
    run.summary.update(sweep_summary(sweep))
    try:
        if figures := dict(_figures(sweep)):
            run.log(figures)
    except Exception as error:  # no figure is worth the tables, or the server
        warn(f"W&B: figures are not tracked ({one_line(error)})")
    try:
        if winner := _winner(sweep, best, online=not run.offline):
            run.log_artifact(winner)
    except Exception as error:
        warn(f"W&B: the winner is no artifact ({one_line(error)})")


def _figures(sweep: Sweep) -> Iterator[tuple[str, wandb.Plotly]]:
    import wandb

    for number, panel in enumerate(drawn(panels_of(sweep), sweep), start=1):
        if (figure := figure_of(panel, sweep)) is not None:
            yield f"panels/{number} {panel.title}", wandb.Plotly(figure)


def _winner(sweep: Sweep, best: Path, online: bool) -> wandb.Artifact | None:
    """The exported network, where it is the sweep's choice; None where it is not.

    Online with its weights: offline they would lie beside the run a second time.
    """
    import wandb

    try:
        facts = json.loads((best / "model.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if facts.get("trial") != sweep.chosen:
        return None
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", f"{sweep.name}-{facts['variant']}")[:_MOST_OF_NAME]
    found = wandb.Artifact(name, type="model", metadata=facts)
    for file in ("model.json", "model.py", "README.md", *["weights.pt"] * online):
        if (best / file).is_file():
            found.add_file(str(best / file))
    return found


def _table(table: Rows) -> wandb.Table:
    import wandb

    return wandb.Table(columns=table[0], data=table[1], allow_mixed_types=True)
