"""Tensors on paper: shapes, types and storages without bytes, at a tenth of what fake ones cost.

torch's `FakeTensorMode` says the same of any operator, in 0.1 to 1 ms each: it tries a cache whose
keys are long to make, and what shapes come out it learns from Python that decomposes the
operator. Here the operators that a network is made of have rules of their own, one line each,
and for all others torch's kernels for the device ``meta`` are asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import flop_registry

from resnest_search.cost.live import LiveBytes

__all__ = ["OnPaper"]

_aten = torch.ops.aten
_CPU = torch.device("cpu")
_Rule = Callable[..., Any]  # the operator's arguments to its results, all on the device meta


class _PaperTensor(torch.Tensor):
    """Passes for a tensor on the CPU, for autograd and autocast too; its storage is ``meta``'s."""

    meta: torch.Tensor

    @staticmethod
    def __new__(cls, meta: torch.Tensor) -> _PaperTensor:
        made: _PaperTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            meta.shape,
            strides=meta.stride(),
            storage_offset=meta.storage_offset(),
            dtype=meta.dtype,
            device=_CPU,
        )
        made.meta = meta
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise RuntimeError(f"{func} met a tensor that is on paper, and is called outside `OnPaper`")


class OnPaper(LiveBytes):  # type: ignore[no-untyped-call]
    """`LiveBytes` of a computation that is not made: tensors have all but their numbers.

    Whatever is made while it is entered is on paper, as on a CPU. A tensor from outside is
    taken for its shape. What would look at a number raises.

    Attributes:
        flops: floating-point operations of convolutions and matrix products, by the formulas of
            `torch.utils.flop_counter`, since the start or since they were set to 0.
    """

    def __init__(self, *, count_flops: bool = False) -> None:
        super().__init__()
        self.flops = 0
        self._formulas: Mapping[Any, Callable[..., int]] = flop_registry if count_flops else {}

    def hold(self, tensors: Iterable[torch.Tensor]) -> None:
        """Count tensors that were made on paper before."""
        super().hold(_bare(tensor) for tensor in tensors)

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if _in_place(func):
            return args[0]
        if func is _aten.detach.default:
            return _PaperTensor(args[0].meta)
        bare = [_bare(argument) for argument in args]
        named = {name: _bare(argument) for name, argument in kwargs.items()} if kwargs else {}
        if _makes(func) or "device" in named:
            named["device"] = "meta"
        out = _RULES.get(func, func)(*bare, **named)
        formula = self._formulas.get(func._overloadpacket)  # type: ignore[attr-defined]
        if formula is not None:
            self.flops += formula(*bare, **named, out_val=out)
        return self._dressed(out)

    def _dressed(self, out: Any) -> Any:
        """The same with every tensor on paper, and counted."""
        kind = type(out)
        if kind is torch.Tensor:
            self._see(out.untyped_storage())
            return _PaperTensor(out)
        if kind is tuple or kind is list:
            return kind(self._dressed(each) for each in out)
        return out


def _bare(argument: Any) -> Any:
    """The same with tensors of the device meta alone."""
    kind = type(argument)
    if kind is _PaperTensor:
        return argument.meta
    if kind is torch.Tensor or kind is nn.Parameter:
        return argument.to("meta")
    if kind is list or kind is tuple:
        return [_bare(each) for each in argument]
    return argument


@cache
def _in_place(func: Any) -> bool:
    """Whether it writes into its first argument and returns that, whose shape stays."""
    arguments, returns = func._schema.arguments, func._schema.returns
    written = func._schema.name.endswith("_") and len(returns) == 1 and bool(arguments)
    return bool(written and returns[0].alias_info is not None and returns[0].alias_info.is_write)


@cache
def _makes(func: Any) -> bool:
    """Whether it makes tensors out of none, on a device that it is told."""
    names = {argument.name for argument in func._schema.arguments}
    return "device" in names and "self" not in names


def _like(x: torch.Tensor) -> torch.Tensor:
    """A new tensor that looks like this one, as `torch.empty_like` makes it."""
    if x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last):
        return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="meta")
    return torch.empty_like(x)


def _as_argument(place: int) -> _Rule:
    return lambda *args, **_: _like(args[place])


def _elementwise(func: Callable[..., torch.Tensor]) -> _Rule:
    def rule(a: torch.Tensor, b: Any, *rest: Any, **named: Any) -> torch.Tensor:
        if isinstance(b, torch.Tensor):
            sides = zip(reversed(a.shape), reversed(b.shape), strict=False)
            fits = a.dtype == b.dtype and a.dim() >= b.dim() and all(n in (1, m) for m, n in sides)
        else:
            fits = a.is_floating_point() and not isinstance(b, complex)
        return _like(a) if fits else func(a, b, *rest, **named)

    return rule


def _convolution(x: torch.Tensor, weight: torch.Tensor, *args: Any) -> torch.Tensor:
    _, stride, padding, dilation, transposed = args[:5]
    if transposed:
        return _aten.convolution.default(x, weight, *args)  # type: ignore[no-any-return]
    sides = [
        (side + 2 * around - apart * (kernel - 1) - 1) // step + 1
        for side, kernel, step, around, apart in zip(
            x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True
        )
    ]
    last = _channels_last(x) or _channels_last(weight)
    return torch.empty(
        (x.shape[0], weight.shape[0], *sides),
        dtype=x.dtype,
        device="meta",
        memory_format=torch.channels_last if last else torch.contiguous_format,
    )


def _channels_last(x: torch.Tensor) -> bool:
    return not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def _clone(x: torch.Tensor, memory_format: torch.memory_format | None = None) -> torch.Tensor:
    if memory_format in (None, torch.preserve_format):
        return _like(x)
    assert memory_format is not None
    return torch.empty(x.shape, dtype=x.dtype, device="meta", memory_format=memory_format)


def _reduction(func: Callable[..., torch.Tensor]) -> _Rule:
    def rule(
        x: torch.Tensor, dims: Sequence[int] | None, keepdim: bool = False, **named: Any
    ) -> torch.Tensor:
        if not dims or named or not x.is_floating_point():
            return func(x, dims, keepdim, **named)
        gone = {dim % x.dim() for dim in dims}
        sides = [1 if dim in gone else side for dim, side in enumerate(x.shape)]
        return _new(x, [s for dim, s in enumerate(sides) if keepdim or dim not in gone])

    return rule


def _new(x: torch.Tensor, sides: Sequence[int]) -> torch.Tensor:
    return torch.empty(sides, dtype=x.dtype, device="meta")


def _norm(x: torch.Tensor, *args: Any) -> tuple[torch.Tensor, ...]:
    """Batch norm: the map, and in training mean and 1 / standard deviation."""
    channels = x.shape[1] if args[4] else 0
    return _like(x), _new(x, [channels]), _new(x, [channels])


def _norm_backward(g: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, *args: Any) -> Any:
    likes = zip((x, weight, weight), args[-1], strict=True)
    return tuple(_like(like) if wanted else None for like, wanted in likes)


def _conv_backward(g: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, *args: Any) -> Any:
    of_x, of_weight, of_bias = args[-1]
    return (
        _like(x) if of_x else None,
        _like(weight) if of_weight else None,
        _new(weight, args[0]) if of_bias else None,
    )


_RULES: dict[Any, _Rule] = {
    **{func: _elementwise(func) for func in (_aten.add.Tensor, _aten.mul.Tensor)},
    **{func: _elementwise(func) for func in (_aten.mul.Scalar, _aten.div.Scalar)},
    **{func: _reduction(func) for func in (_aten.mean.dim, _aten.sum.dim_IntList)},
    _aten.empty_like.default: _as_argument(0),
    _aten.neg.default: _as_argument(0),
    _aten._log_softmax.default: _as_argument(0),
    _aten._log_softmax_backward_data.default: _as_argument(0),
    _aten._softmax_backward_data.default: _as_argument(0),
    _aten.nll_loss_backward.default: _as_argument(1),
    _aten.threshold_backward.default: _as_argument(1),
    _aten.addmm.default: lambda bias, x, weight: _new(x, [x.shape[0], weight.shape[1]]),
    _aten.bmm.default: lambda x, y: _new(x, [*x.shape[:2], y.shape[2]]),
    _aten.clone.default: _clone,
    _aten.native_batch_norm.default: _norm,
    _aten.native_batch_norm_backward.default: _norm_backward,
    _aten.convolution.default: _convolution,
    _aten.convolution_backward.default: _conv_backward,
}
