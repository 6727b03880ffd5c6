"""Space, study, samplers, pruners, and the strategy that joins them. No torch, no Ray."""

from resnest_search.search.costing import Costing
from resnest_search.search.read import read_sweep
from resnest_search.search.space import Candidate, Space, configured
from resnest_search.search.strategy import Assignment, Strategy
from resnest_search.search.study import SweepStudy
from resnest_search.search.warm_start import Earlier, enter_earlier, find_earlier

__all__ = [
    "Assignment",
    "Candidate",
    "Costing",
    "Earlier",
    "Space",
    "Strategy",
    "SweepStudy",
    "configured",
    "enter_earlier",
    "find_earlier",
    "read_sweep",
]
