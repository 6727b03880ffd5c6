"""Search ResNeSt's design space for the Pareto front of accuracy, latency and memory."""

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any

try:
    __version__ = version("resnest-search")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+unknown"

__all__ = ["__version__", "open_run", "search"]


def __getattr__(name: str) -> Any:
    """What Python calls in place of the command line, imported when it is first asked for."""
    if name in ("open_run", "search"):
        return getattr(importlib.import_module("resnest_search.notebook"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
