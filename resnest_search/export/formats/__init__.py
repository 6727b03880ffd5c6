"""The formats of the export, one a file."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

from resnest_search.errors import UserError
from resnest_search.export.formats.base import Format, Winner
from resnest_search.export.formats.onnx import ONNX
from resnest_search.export.formats.onnx_int8 import ONNX_INT8
from resnest_search.export.formats.source import SOURCE
from resnest_search.export.formats.timm import TIMM
from resnest_search.export.formats.torch_export import TORCH_EXPORT

__all__ = ["FORMATS", "Format", "Winner", "named_formats", "refuse_where_none_is_left"]

FORMATS = {format.name: format for format in (SOURCE, TORCH_EXPORT, ONNX, ONNX_INT8, TIMM)}


def named_formats(
    names: Sequence[str], arguments: dict[str, Any]
) -> tuple[list[Format], dict[str, str]]:
    """The formats of these names, each once; source always, and first.

    Args:
        names: at least one, else source is meant.
        arguments: of ``ResNeSt``, ``variant`` among them as text.

    Returns:
        Those that are possible; and of each other one why it is not, in one line.

    Raises:
        UserError: there is no such format, or none of those named is possible.
    """
    for name in names:
        if name not in FORMATS:
            raise UserError(f"format={name}: no such format; valid: {', '.join(FORMATS)}")
    chosen = [FORMATS[name] for name in dict.fromkeys(["source", *names])]
    reasons = {format.name: _reason(format, arguments) for format in chosen}
    refused = {name: reason for name, reason in reasons.items() if reason}
    refuse_where_none_is_left(names, refused)
    return [format for format in chosen if format.name not in refused], refused


def refuse_where_none_is_left(names: Sequence[str], refused: dict[str, str]) -> None:
    """Raise UserError, with all reasons in one line, if none of the named formats is possible."""
    if names and set(names) <= refused.keys():
        raise UserError("; ".join(refused.values()))


def _reason(format: Format, arguments: dict[str, Any]) -> str:
    """Why a format is impossible here; empty where it is possible."""
    missing = [name for name in format.packages if not _installed(name)]
    if missing:
        return (
            f"format={format.name}: needs {', '.join(missing)}; "
            "pip install 'resnest-search[export]'"
        )
    reason = format.refusal(arguments)
    if not reason:
        return ""
    return (
        f"format={format.name}: {format.name} cannot express {arguments['variant']} "
        f"of this network: {reason}"
    )


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ImportError:
        return False
