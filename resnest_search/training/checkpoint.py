"""What a trial's checkpoint holds; reading it needs torch, but no Lightning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from resnest_search.training.run import CHECKPOINT

__all__ = ["load", "load_weights"]


def load(path: Path) -> dict[str, Any]:
    """A checkpoint as Lightning wrote it, on the CPU."""
    loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return loaded


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The network's state dict from a trial's checkpoint, on the CPU.

    Raises:
        FileNotFoundError, RuntimeError: there is none, or it is damaged.
    """
    state = load(folder / CHECKPOINT)["state_dict"]
    prefix = "network."
    return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
