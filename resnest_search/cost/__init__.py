"""What a network costs: parameters, multiply-accumulates, memory and latency."""

from resnest_search.cost.latency import Timing, time_network
from resnest_search.cost.measure import CostRequest, Costs, measure
from resnest_search.cost.memory import OutOfMemory
from resnest_search.cost.space import measure_all

__all__ = [
    "CostRequest",
    "Costs",
    "OutOfMemory",
    "Timing",
    "measure",
    "measure_all",
    "time_network",
]
