"""How many bytes of tensors are alive at once: an exact account of a computation."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

__all__ = ["LiveBytes"]


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the storages behind all tensors that are made while it is entered.

    A storage counts once, however many tensors view it, from the operation that makes it
    until its last tensor is freed. Entered inside a `FakeTensorMode` it accounts for a
    computation that allocates nothing. What a kernel needs only within one operation, its
    workspace, is not seen. A tensor that existed before is counted from `hold` on.

    Attributes:
        live: bytes alive now.
        peak: most bytes that were alive at once since the start or since `restart`.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        self.peak = 0
        # Storage address -> its bytes, and the weak reference that reports its end. The
        # reference fires before the address can be used again.
        self._alive: dict[int, tuple[int, weakref.ref[torch.UntypedStorage]]] = {}

    def hold(self, tensors: Iterable[torch.Tensor]) -> None:
        """Count tensors that were made outside; those already counted stay counted once."""
        for tensor in tensors:
            self._see(tensor.untyped_storage())

    def restart(self) -> None:
        """Forget the peak so far: what is alive now is the new one."""
        self.peak = self.live

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        self._alive.clear()  # drops the references, and with them every later report

    def __enter__(self) -> Self:
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.hold(leaf for leaf in tree_iter(result) if isinstance(leaf, torch.Tensor))
        return result

    def _see(self, storage: torch.UntypedStorage) -> None:
        address, size = storage._cdata, storage.nbytes()
        before = self._alive.get(address)
        if before is None:
            end = weakref.ref(storage, lambda _: self._forget(address))
            self._alive[address] = (size, end)
        else:  # a storage may grow in place
            self._alive[address] = (size, before[1])
        self.live += size - (before[0] if before else 0)
        self.peak = max(self.peak, self.live)

    def _forget(self, address: int) -> None:
        size, _ = self._alive.pop(address, (0, None))
        self.live -= size
