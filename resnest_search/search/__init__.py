"""Samplers, pruners, and the strategy that joins them. No torch, no Ray."""

from resnest_search.search.strategy import Assignment, Strategy
from resnest_search.search.warm_start import Earlier, enter_earlier, find_earlier

__all__ = ["Assignment", "Earlier", "Strategy", "enter_earlier", "find_earlier"]
