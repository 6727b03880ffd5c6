"""Training with Lightning.

`Run` and what goes with it are plain data, `load_weights` needs torch, `fit` Lightning, which takes
seconds to import. What a name needs is imported when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnest_search.training.run import CHECKPOINT, EPOCH_LOG, Report, Run

if TYPE_CHECKING:
    from resnest_search.training.checkpoint import load_weights
    from resnest_search.training.fitting import fit

__all__ = ["CHECKPOINT", "EPOCH_LOG", "Report", "Run", "fit", "load_weights"]


def __getattr__(name: str) -> Any:
    if name == "load_weights":
        from resnest_search.training.checkpoint import load_weights

        return load_weights
    if name == "fit":
        from resnest_search.training.fitting import fit

        return fit
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
