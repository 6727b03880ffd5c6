"""A sweep in TensorBoard: a folder for each trial, with its hyperparameters and metrics."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from resnest_search.study.record import OPEN, Sweep, TrialRecord
from resnest_search.tracking.listeners import Listener
from resnest_search.tracking.tracked import EPOCH_METRICS, epoch_row, trial_summary

__all__ = ["TensorBoard"]

_FLUSH_S = 5  # until an epoch can be seen; the library's own 120 are long beside short epochs


class TensorBoard(Listener):
    """Writes ``<folder>/tensorboard/<number>-<variant>``, which ``tensorboard --logdir`` shows.

    A resumed sweep writes each trial's folder anew, from the study, so that no step is there twice.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        super().__init__(folder, config)
        self._writers: dict[int, SummaryWriter] = {}
        self._steps: dict[int, int] = {}  # epochs of each trial that are written

    def trial(self, record: TrialRecord) -> None:
        """Write the epochs that are new; what was measured once the trial is over."""
        if record.number < 0 or self._steps.get(record.number, 0) < 0:
            return
        writer = self._writers.get(record.number) or self._begun(record)
        for epoch in record.curve[self._steps[record.number] :]:
            row = epoch_row(epoch)
            for name in EPOCH_METRICS:
                if name in row:
                    writer.add_scalar(name, row[name], epoch.epoch)
        self._steps[record.number] = len(record.curve)
        if record.state not in OPEN:
            self._end(record, writer)

    def close(self, sweep: Sweep) -> None:
        """Write what is missing, and close all files."""
        for record in sweep.trials:
            self.trial(record)
        for writer in self._writers.values():
            writer.close()

    def _begun(self, record: TrialRecord) -> SummaryWriter:
        name = f"{record.number:04d}-{record.variant or record.candidate}"
        place = self.folder / "tensorboard" / name
        shutil.rmtree(place, ignore_errors=True)
        self._steps[record.number] = 0
        self._writers[record.number] = SummaryWriter(str(place), flush_secs=_FLUSH_S)
        return self._writers[record.number]

    def _end(self, record: TrialRecord, writer: SummaryWriter) -> None:
        summary = trial_summary(record)
        told = {k: v for k, v in summary.items() if isinstance(v, int | float)}
        told = {f"measured/{name}": float(value) for name, value in told.items()}
        known = {**record.dimensions, "seed": record.seed, "state": record.state}
        words = {k: v if isinstance(v, int | float | str) else str(v) for k, v in known.items()}
        for part in hparams(words, told):
            writer.file_writer.add_summary(part)
        for name, value in told.items():
            writer.add_scalar(name, value, len(record.curve))
        writer.close()
        del self._writers[record.number]
        self._steps[record.number] = -1  # over, and not to be written again
