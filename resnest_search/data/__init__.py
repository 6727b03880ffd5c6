"""Images: where they lie, how they are split, and the batches that training sees.

`resolve` checks a configuration with the standard library alone, `decode` needs Pillow; `build`
and `ImageData` need torch. What a name needs is imported when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnest_search.data.resolve import resolve

if TYPE_CHECKING:
    from resnest_search.data.decoding import decode
    from resnest_search.data.module import ImageData, build, prepare

__all__ = ["ImageData", "build", "decode", "prepare", "resolve"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "decode":
        from resnest_search.data.decoding import decode

        return decode
    from resnest_search.data import module

    return getattr(module, name)
