# ruff: noqa: N803  (Triton writes constants that are compiled in as capitals)
"""Triton kernels of split attention between its 3x3 and its output.

Letters of the shapes: B images, R radix, C channels of one split, S = H * W pixels of a map.
A map is ``[B, R * C, S]`` in radix-major order, contiguous either along S or along its
channels (``torch.channels_last``). All sums are in float32.

For a channel with batch norm ``z = weight * n + bias``, where ``n = (x - mean) * invstd``, the
ReLU is ``m * z`` with ``m = z > 0``. Whatever is summed over a map is then a combination of
sums of ``m`` and of ``m * n``, which is why two sums a channel are all that is kept.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
import triton
import triton.language as tl

__all__ = ["channel_moments", "combine", "input_gradient", "positive_sums"]

# Enough programs to fill the largest devices of today (132 multiprocessors) some times over.
_PROGRAMS = 1024


@triton.jit  # type: ignore[untyped-decorator]
def _moments_kernel(  # type: ignore[no-untyped-def]
    x, means, squares, channels, pixels, part, of_image, of_channel, of_pixel,
    BLOCK_S: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Mean, and sum of squared differences from it, of one part of one image's channels."""
    image, piece = tl.program_id(0), tl.program_id(2)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    base = x + image.to(tl.int64) * of_image
    count = 0.0
    mean = tl.zeros([BLOCK_C], tl.float32)
    square = tl.zeros([BLOCK_C], tl.float32)
    start = piece * part
    end = tl.minimum(start + part, pixels)
    for first in range(start, end, BLOCK_S):
        s = first + tl.arange(0, BLOCK_S)
        inside = (s < end)[:, None] & (c < channels)[None, :]
        at = s[:, None] * of_pixel + c[None, :] * of_channel
        value = tl.load(base + at, mask=inside, other=0.0).to(tl.float32)
        more = (tl.minimum(first + BLOCK_S, end) - first).to(tl.float32)
        own = tl.sum(value, 0) / more
        away = tl.where(inside, value - own[None, :], 0.0)
        delta = own - mean
        # Chan, Golub and LeVeque: the moments of a union from those of its parts.
        total = count + more
        mean += delta * (more / total)
        square += tl.sum(away * away, 0) + delta * delta * (count * more / total)
        count = total
    at = (piece * tl.num_programs(0) + image) * channels + c
    tl.store(means + at, mean, mask=c < channels)
    tl.store(squares + at, square, mask=c < channels)


@triton.jit
def _norm(norm, own, known, splits):  # type: ignore[no-untyped-def]
    """Weight, bias, mean and 1 / standard deviation of these channels."""
    w = tl.load(norm + own, mask=known, other=0.0)
    b = tl.load(norm + splits + own, mask=known, other=0.0)
    mu = tl.load(norm + 2 * splits + own, mask=known, other=0.0)
    inv = tl.load(norm + 3 * splits + own, mask=known, other=0.0)
    return w, b, mu, inv


@triton.jit  # type: ignore[untyped-decorator]
def _positive_sums_kernel(  # type: ignore[no-untyped-def]
    x, g, norm, sums, normed_sums, channels, pixels, part,
    of_image, of_channel, of_pixel, g_image, g_channel, g_pixel,
    RADIX: tl.constexpr, WEIGHTED: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Sums of m and m * n, or of g * m and g * m * n, over one part of one image's split."""
    image, split = tl.program_id(0) // RADIX, tl.program_id(0) % RADIX
    piece = tl.program_id(2)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    known = c < channels
    own = split * channels + c
    w, b, mu, inv = _norm(norm, own, known, RADIX * channels)
    base = x + image.to(tl.int64) * of_image
    g_base = g + image.to(tl.int64) * g_image
    total = tl.zeros([BLOCK_C], tl.float32)
    normed_total = tl.zeros([BLOCK_C], tl.float32)
    start = piece * part
    end = tl.minimum(start + part, pixels)
    for first in range(start, end, BLOCK_S):
        s = first + tl.arange(0, BLOCK_S)
        inside = (s < end)[:, None] & known[None, :]
        at = s[:, None] * of_pixel + own[None, :] * of_channel
        value = tl.load(base + at, mask=inside, other=0.0).to(tl.float32)
        n = (value - mu[None, :]) * inv[None, :]
        positive = inside & ~(n * w[None, :] + b[None, :] <= 0)  # also where it is no number
        if WEIGHTED:
            g_at = s[:, None] * g_pixel + c[None, :] * g_channel
            factor = tl.load(g_base + g_at, mask=positive, other=0.0).to(tl.float32)
        else:
            factor = positive.to(tl.float32)
        total += tl.sum(factor, 0)
        normed_total += tl.sum(tl.where(positive, factor * n, 0.0), 0)
    images = tl.num_programs(0) // RADIX
    at = ((piece * images + image) * RADIX + split) * channels + c
    tl.store(sums + at, total, mask=known)
    tl.store(normed_sums + at, normed_total, mask=known)


@triton.jit  # type: ignore[untyped-decorator]
def _combine_kernel(  # type: ignore[no-untyped-def]
    x, attention, norm, out, channels, pixels,
    of_image, of_channel, of_pixel, out_image, out_channel, out_pixel,
    RADIX: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Sum over the splits of attention * ReLU(batch norm), for a tile of one image."""
    image = tl.program_id(2)
    s = tl.program_id(0) * BLOCK_S + tl.arange(0, BLOCK_S)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    known = c < channels
    inside = (s < pixels)[:, None] & known[None, :]
    base = x + image.to(tl.int64) * of_image
    total = tl.zeros([BLOCK_S, BLOCK_C], tl.float32)
    for split in tl.static_range(RADIX):
        own = split * channels + c
        w, b, mu, inv = _norm(norm, own, known, RADIX * channels)
        a = tl.load(attention + image * RADIX * channels + own, mask=known, other=0.0)
        at = s[:, None] * of_pixel + own[None, :] * of_channel
        value = tl.load(base + at, mask=inside, other=0.0).to(tl.float32)
        z = (value - mu[None, :]) * inv[None, :] * w[None, :] + b[None, :]
        # As torch's ReLU: what is no number stays so, and is seen in the loss.
        z = tl.maximum(z, 0.0, propagate_nan=tl.PropagateNan.ALL)
        total += a.to(tl.float32)[None, :] * z
    at = s[:, None] * out_pixel + c[None, :] * out_channel
    tl.store(out + image.to(tl.int64) * out_image + at, total.to(out.dtype.element_ty), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _input_gradient_kernel(  # type: ignore[no-untyped-def]
    x, g, attention, flat, offset, slope, norm, out, channels, pixels,
    of_image, of_channel, of_pixel, g_image, g_channel, g_pixel,
    RADIX: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """weight * invstd * (m * (attention * g + flat) - offset - n * slope), for a tile."""
    image = tl.program_id(2)
    s = tl.program_id(0) * BLOCK_S + tl.arange(0, BLOCK_S)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    known = c < channels
    inside = (s < pixels)[:, None] & known[None, :]
    g_at = s[:, None] * g_pixel + c[None, :] * g_channel
    gradient = tl.load(g + image.to(tl.int64) * g_image + g_at, mask=inside, other=0.0)
    gradient = gradient.to(tl.float32)
    for split in tl.static_range(RADIX):
        own = split * channels + c
        w, b, mu, inv = _norm(norm, own, known, RADIX * channels)
        shift = tl.load(offset + own, mask=known, other=0.0)
        slant = tl.load(slope + own, mask=known, other=0.0)
        of_split = image * RADIX * channels + own
        a = tl.load(attention + of_split, mask=known, other=0.0).to(tl.float32)
        f = tl.load(flat + of_split, mask=known, other=0.0).to(tl.float32)
        at = image.to(tl.int64) * of_image + s[:, None] * of_pixel + own[None, :] * of_channel
        n = (tl.load(x + at, mask=inside, other=0.0).to(tl.float32) - mu[None, :]) * inv[None, :]
        positive = ~(n * w[None, :] + b[None, :] <= 0)
        d = tl.where(positive, a[None, :] * gradient + f[None, :], 0.0)
        d = (w * inv)[None, :] * (d - shift[None, :] - n * slant[None, :])
        tl.store(out + at, d.to(out.dtype.element_ty), mask=inside)


def channel_moments(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and biased variance of the channels of a dense ``[B, C, H, W]``: float32 ``[C]``."""
    batch, channels, height, width = x.shape
    pixels = height * width
    strides = _strides(x)
    blocks = _blocks(strides, channels, pixels)
    tiles = _divide(channels, blocks["BLOCK_C"])
    part, pieces = _parts(batch * tiles, pixels, blocks["BLOCK_S"])
    means, squares = x.new_empty((2, pieces, batch, channels), dtype=torch.float32)
    _launch(
        _moments_kernel, (batch, tiles, pieces), x, means, squares, channels, pixels, part,
        *strides, **blocks,
    )  # fmt: skip
    counts = torch.full((pieces, 1, 1), float(part), device=x.device)
    counts[-1] = pixels - part * (pieces - 1)
    total = batch * pixels
    mean = (means * counts).sum((0, 1)) / total
    variance = (squares + (means - mean).square() * counts).sum((0, 1)) / total
    return mean, variance


def positive_sums(
    x: torch.Tensor,
    gradient: torch.Tensor | None,
    norm: torch.Tensor,
    radix: int,
) -> torch.Tensor:
    """Sums over the map of m and m * n, each times the gradient of the output where given.

    Args:
        x: ``[B, R * C, H, W]``, dense.
        gradient: ``[B, C, H, W]``, dense, or None for a factor of 1.
        norm: weight, bias, mean and 1 / standard deviation, ``[4, R * C]``, contiguous.
        radix: R.

    Returns:
        Both, float32 ``[2, B, R * C]``.
    """
    batch, splits, height, width = x.shape
    channels, pixels = splits // radix, height * width
    strides = _strides(x)
    blocks = _blocks(strides, channels, pixels)
    tiles = _divide(channels, blocks["BLOCK_C"])
    part, pieces = _parts(batch * radix * tiles, pixels, blocks["BLOCK_S"])
    sums = x.new_empty((2, pieces, batch, splits), dtype=torch.float32)
    g = x if gradient is None else gradient
    _launch(
        _positive_sums_kernel, (batch * radix, tiles, pieces), x, g, norm, sums[0], sums[1],
        channels, pixels, part, *strides, *_strides(g),
        RADIX=radix, WEIGHTED=gradient is not None, **blocks,
    )  # fmt: skip
    return sums.squeeze(1) if pieces == 1 else sums.sum(1)


def combine(
    x: torch.Tensor,
    attention: torch.Tensor,
    norm: torch.Tensor,
    out: torch.Tensor,
) -> None:
    """Write the weighted sum of the splits' ReLU into ``out``.

    Args:
        x: ``[B, R * C, H, W]``, dense.
        attention: ``[B, R, C]``, contiguous.
        norm: see `positive_sums`.
        out: ``[B, C, H, W]``, dense.
    """
    radix, channels = attention.shape[1:]
    pixels = x.shape[2] * x.shape[3]
    blocks = _blocks(_strides(x), channels, pixels)
    grid = (_divide(pixels, blocks["BLOCK_S"]), _divide(channels, blocks["BLOCK_C"]), len(x))
    _launch(
        _combine_kernel, grid, x, attention, norm, out, channels, pixels,
        *_strides(x), *_strides(out), RADIX=radix, **blocks,
    )  # fmt: skip


def input_gradient(
    x: torch.Tensor,
    gradient: torch.Tensor,
    attention: torch.Tensor,
    flat: torch.Tensor,
    offset: torch.Tensor,
    slope: torch.Tensor,
    norm: torch.Tensor,
) -> torch.Tensor:
    """The gradient of the 3x3's output: ``[B, R * C, H, W]``, in the layout of x.

    Args:
        x: ``[B, R * C, H, W]``, dense.
        gradient: of the output, ``[B, C, H, W]``, dense.
        attention: ``[B, R, C]``, contiguous.
        flat: gradient of every pixel through the means, ``[B, R * C]``, contiguous.
        offset: mean gradient of batch norm's output, ``[R * C]``; zero with fixed statistics.
        slope: mean of that gradient times n, likewise.
        norm: see `positive_sums`.
    """
    radix, channels = attention.shape[1:]
    pixels = x.shape[2] * x.shape[3]
    out = torch.empty_like(x)
    blocks = _blocks(_strides(x), channels, pixels)
    grid = (_divide(pixels, blocks["BLOCK_S"]), _divide(channels, blocks["BLOCK_C"]), len(x))
    _launch(
        _input_gradient_kernel, grid, x, gradient, attention, flat, offset, slope, norm, out,
        channels, pixels, *_strides(x), *_strides(gradient), RADIX=radix, **blocks,
    )  # fmt: skip
    return out


def _launch(
    kernel: Any, grid: tuple[int, int, int], x: torch.Tensor, *args: Any, **constants: Any
) -> None:
    """On the tensor's own device, which need not be the current one."""
    with torch.cuda.device(x.device) if x.is_cuda else nullcontext():
        kernel[grid](x, *args, **constants)


def _strides(x: torch.Tensor) -> tuple[int, int, int]:
    """Elements from an image, a channel and a pixel to the next, of a dense ``[B, C, H, W]``."""
    channels, pixels = x.shape[1], x.shape[2] * x.shape[3]
    if x.is_contiguous():
        return channels * pixels, pixels, 1
    return channels * pixels, 1, channels


def _blocks(strides: tuple[int, int, int], channels: int, pixels: int) -> dict[str, int]:
    """Sides of a tile, long in the direction that lies together.

    Up to 1024 elements in channels_last and 2048 else: with more, the kernel of the gradient
    wants over 128 registers a thread on sm_90.
    """
    if strides[1] == 1:
        block_c = min(64, _power(channels))
        return {"BLOCK_S": min(_power(pixels), 1024 // block_c), "BLOCK_C": block_c}
    block_s = min(2048, _power(pixels))
    return {"BLOCK_S": block_s, "BLOCK_C": min(_power(channels), max(1, 2048 // block_s))}


def _parts(programs: int, pixels: int, block: int) -> tuple[int, int]:
    """Pixels of a part, whole blocks of them, and how many parts fill the device."""
    most = _divide(pixels, block)
    pieces = max(1, min(most, _divide(_PROGRAMS, programs)))
    part = _divide(most, pieces) * block
    return part, _divide(pixels, part)


def _divide(number: int, by: int) -> int:
    """The quotient, rounded up."""
    return -(-number // by)


def _power(number: int) -> int:
    """The smallest power of 2 that is not below."""
    return 1 << (number - 1).bit_length()
