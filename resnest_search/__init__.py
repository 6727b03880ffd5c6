"""Search ResNeSt's design space for the Pareto front of accuracy, latency and memory."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("resnest-search")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
