"""A trial as Ray Tune runs it: one step is one epoch."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from ray.tune import Trainable

from resnest_search.execution.training_thread import TrainingThread
from resnest_search.training import Run

if TYPE_CHECKING:
    from resnest_search.execution.workers import Workers

__all__ = ["TrialTrainable"]


class TrialTrainable(Trainable):
    """Trains the ``run`` of its config, and is reused for the next trial.

    It saves nothing through Tune: each epoch's checkpoint lies in the trial's own folder,
    where a retry on another worker or a later resume finds it.
    """

    def setup(self, config: dict[str, Any]) -> None:
        # Not above: the driver names this class, and torch and Lightning take seconds to import.
        from resnest_search.execution.workers import Workers

        self._workers: Workers = Workers(config["allotment"])
        self._run: Run = config["run"]
        self._training: TrainingThread | None = None
        self._sent = 0

    def step(self) -> dict[str, Any]:
        # Not before the first step: Tune may yet give the trial to a worker that has become
        # free, and two would train in one folder.
        if self._training is None:
            self._training = TrainingThread(self._workers.train, self._run)
        message = self._training.next()
        if message.whose == "worker":
            raise RuntimeError(message.failure)  # Tune starts the trial again
        # All epochs the first time, since the driver that recorded them may have been killed.
        fresh = message.curve[self._sent :]
        self._sent = max(self._sent, len(message.curve))
        return {
            "curve": [dataclasses.asdict(entry) for entry in fresh],
            "note": message.note,
            "failure": message.failure,
            "whose": message.whose,
        }

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.cleanup()
        self._run = new_config["run"]
        self._sent = 0
        return True

    def cleanup(self) -> None:
        if self._training is not None:
            self._training.stop()
            self._training = None
