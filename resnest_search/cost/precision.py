"""What a precision's name stands for: types, and how a GPU multiplies them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from resnest_search.models.float32 import float32_products

__all__ = ["as_in_training", "dtype_of"]

_DTYPES = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def dtype_of(precision: str) -> torch.dtype:
    """The type of ``fp32``, ``tf32``, ``bf16`` or ``fp16``; the first two differ in products alone.

    Raises:
        ValueError: another name.
    """
    if precision not in _DTYPES:
        raise ValueError(f"precision must be one of {', '.join(_DTYPES)}, not {precision!r}")
    return _DTYPES[precision]


@contextmanager
def as_in_training(precision: str) -> Iterator[str]:
    """Within, a GPU multiplies as the precision says, and tries cuDNN's algorithms on each shape.

    Training does both, so that no other kernels are measured than are used. What was set before is
    restored.

    Yields:
        ``tf32`` or ``ieee``, see `float32_products`.
    """
    tries = torch.backends.cudnn.benchmark
    with float32_products(precision) as products:
        try:
            torch.backends.cudnn.benchmark = True
            yield products
        finally:
            torch.backends.cudnn.benchmark = tries
