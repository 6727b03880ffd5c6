"""Training with Lightning."""

from resnest_search.training.fit import CHECKPOINT, EPOCH_LOG, Report, Run, fit, load_weights

__all__ = ["CHECKPOINT", "EPOCH_LOG", "Report", "Run", "fit", "load_weights"]
