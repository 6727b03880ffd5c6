"""How often the test images were looked at: whoever chooses by them has no test set left."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from torch import nn

from resnest_search.study.record import TrialRecord
from resnest_search.study.study import SweepStudy
from resnest_search.words import now

__all__ = ["Look", "take_look"]

_KEY = "test_look/"  # in the study's notes, one for each network that was tried on the test images


@dataclass(frozen=True)
class Look:
    """Which look of how many; networks count by their weights, so that none counts twice."""

    number: int
    networks: int

    def __str__(self) -> str:
        return f"look {self.number} of {self.networks} at the test images"


def take_look(study: SweepStudy, trial: TrialRecord, network: nn.Module) -> Look:
    """Enter into the study that a network was tried on the test images, unless it has been."""
    key = _KEY + _digest(network)
    looks = {name: entry for name, entry in study.notes.items() if name.startswith(_KEY)}
    if key not in looks:
        looks[key] = {
            "number": len(looks) + 1,
            "trial": trial.number,
            "variant": trial.variant,
            "at": now(),
        }
        study.note(key, looks[key])
    return Look(int(looks[key]["number"]), len(looks))


def _digest(network: nn.Module) -> str:
    """SHA-256 of the weights by name, whatever file they lie in."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
