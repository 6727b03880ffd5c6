"""The floating-point types that a precision's name stands for."""

from __future__ import annotations

import torch

__all__ = ["dtype_of"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def dtype_of(precision: str) -> torch.dtype:
    """The type of ``fp32``, ``bf16`` or ``fp16``.

    Raises:
        ValueError: another name.
    """
    if precision not in _DTYPES:
        raise ValueError(f"precision must be one of {', '.join(_DTYPES)}, not {precision!r}")
    return _DTYPES[precision]
