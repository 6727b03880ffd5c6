"""The winner as files that need nothing of this package."""

from resnest_search.export.best import export_best
from resnest_search.export.select import select_trial

__all__ = ["export_best", "select_trial"]
