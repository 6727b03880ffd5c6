"""The winner as files that need nothing of this package."""

from resnest_search.export.best import export_best, trained_network

__all__ = ["export_best", "trained_network"]
