"""What of a configuration or a message may leave this machine.

Reports and tracked runs are passed on; home folders, addresses and keys are not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["public_config", "public_text"]

_SECRET_NAME = re.compile(r"api_?key|token|secret|password|credential", re.IGNORECASE)
_HOME = re.compile(r"(?:/home|/Users)/[^/\s'\"]+|/root(?=/|\b)")
_LOGIN = re.compile(r"(?<=://)[^/@\s]+@")
_SHORTEST_SECRET = 8  # characters; shorter values are words such as "true"


def public_text(text: str) -> str:
    """The text without home folders, logins in addresses, and values of secret variables."""
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "[removed]")
    home = str(Path.home())
    if len(home) > 1:
        text = text.replace(home, "~")
    return _LOGIN.sub("", _HOME.sub("~", text))


def public_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a resolved configuration that may be passed on."""
    return {str(key): _public(str(key), value) for key, value in config.items()}


def _public(key: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return public_config(value)
    if isinstance(value, list | tuple):
        return [_public(key, item) for item in value]
    if not isinstance(value, str):
        return value
    named_host = key == "address" and value != "auto"
    if named_host or _SECRET_NAME.search(key):
        return "[removed]"
    return public_text(value)
