"""A trial as Ray Tune runs it: one step is one epoch."""

from __future__ import annotations

import dataclasses
from typing import Any

from ray.tune import Trainable

from resnest_search.execution.training_thread import TrainingThread
from resnest_search.execution.workers import Workers

__all__ = ["TrialTrainable"]


class TrialTrainable(Trainable):
    """Trains the ``run`` of its config, and is reused for the next trial.

    It saves nothing through Tune: each epoch's checkpoint lies in the trial's own folder,
    where a retry on another worker or a later resume finds it.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self._workers = Workers(config["allotment"])
        self._training = TrainingThread(self._workers.train, config["run"])
        self._sent = 0

    def step(self) -> dict[str, Any]:
        message = self._training.next()
        if message.lost:
            raise RuntimeError(message.failure)  # Tune starts the trial again
        # All epochs the first time, since the driver that recorded them may have been killed.
        fresh = message.curve[self._sent :]
        self._sent = max(self._sent, len(message.curve))
        return {
            "curve": [dataclasses.asdict(entry) for entry in fresh],
            "note": message.note,
            "failure": message.failure,
        }

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._training.stop()
        self._training = TrainingThread(self._workers.train, new_config["run"])
        self._sent = 0
        return True

    def cleanup(self) -> None:
        self._training.stop()
