"""Networks around a split-attention variant."""

from resnest_search.models.build import build
from resnest_search.models.resnest import Bottleneck, Features, ResNeSt
from resnest_search.models.split_attention import SplitAttention

__all__ = ["Bottleneck", "Features", "ResNeSt", "SplitAttention", "build"]
