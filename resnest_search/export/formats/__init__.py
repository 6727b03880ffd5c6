"""The formats of the export, one a file."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from resnest_search.errors import UserError
from resnest_search.export.formats.base import Format, Winner
from resnest_search.export.formats.onnx import ONNX
from resnest_search.export.formats.source import SOURCE
from resnest_search.export.formats.timm import TIMM
from resnest_search.export.formats.torch_export import TORCH_EXPORT

__all__ = ["FORMATS", "Format", "Winner", "named_formats"]

FORMATS = {format.name: format for format in (SOURCE, TORCH_EXPORT, ONNX, TIMM)}


def named_formats(names: Sequence[str]) -> list[Format]:
    """The formats of these names, each once; source always, and first.

    Raises:
        UserError: there is no such format, or a package that it needs is not installed.
    """
    for name in names:
        if name not in FORMATS:
            raise UserError(f"format={name}: no such format; valid: {', '.join(FORMATS)}")
    chosen = [FORMATS[name] for name in dict.fromkeys(["source", *names])]
    for format in chosen:
        missing = [name for name in format.packages if not _installed(name)]
        if missing:
            raise UserError(
                f"format={format.name}: needs {', '.join(missing)}; "
                "pip install 'resnest-search[export]'"
            )
    return chosen


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ImportError:
        return False
