"""How exactly a GPU multiplies float32 numbers: whole, or with ten bits of mantissa (TF32)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["float32_products"]


@contextmanager
def float32_products(precision: str) -> Iterator[str]:
    """Within, convolutions and matrix products of float32 on a GPU are TF32 for ``tf32`` alone.

    Torch's own default is TF32 in convolutions and not in matrix products. For any other
    precision they are IEEE's, what remains in float32 beside bf16 and fp16 included. What was
    set before is restored. On a CPU it changes nothing.

    Yields:
        ``tf32`` or ``ieee``, as it stands, read back from torch.
    """
    # Matrix products by torch's older call, which sets the newer switch, too: a compiler's cache
    # still reads the older one, and raises where only the newer was set.
    # Both of cuDNN's: its older switch raises where they differ.
    cudnn: Any = torch.backends.cudnn
    before = cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision
    products, is_tf32 = torch.get_float32_matmul_precision(), precision == "tf32"
    try:
        torch.set_float32_matmul_precision("high" if is_tf32 else "highest")
        for switch in (cudnn.conv, cudnn.rnn):
            switch.fp32_precision = "tf32" if is_tf32 else "ieee"
        yield cudnn.conv.fp32_precision
    finally:
        torch.set_float32_matmul_precision(products)
        cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision = before
