"""What of a configuration or a message may leave this machine.

Reports and tracked runs are passed on; home folders, addresses and keys are not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

__all__ = ["public_config", "public_text", "without_password"]

_SECRET_NAME = re.compile(r"api_?key|token|secret|password|credential", re.IGNORECASE)
_HOME = re.compile(r"(?:/home|/Users)/[^/\s'\"]+|/root(?=/|\b)")
_LOGIN = re.compile(r"(?<=://)[^/@\s]+@")
# Up to the last "@": a password that is not percent-encoded may have one in it.
_PASSWORD = re.compile(r"(?<=://)([^:/@\s]*):[^\s'\"]*@")
_PASSWORD_KEY = re.compile(r"(?<=[?&])(\w*passw(?:or)?d)=[^&\s'\"]*", re.IGNORECASE)
_SEPARATORS = {os.sep, os.altsep, "/"}
_SHORTEST_SECRET = 8  # characters; shorter values are words such as "true"


def public_text(text: str) -> str:
    """The text without home folders, logins in addresses, and values of secret variables."""
    if len(text) < _SHORTEST_SECRET and not _SEPARATORS & set(text):
        return text  # no secret fits into it, and no path: of a report's cells nearly all
    for secret in _secrets(tuple(os.environ.items())):
        text = text.replace(secret, "[removed]")
    home = os.path.expanduser("~")  # "~" where nobody knows
    if len(home) > 1:
        text = text.replace(home, "~")
    return _LOGIN.sub("", _HOME.sub("~", text))


@lru_cache(maxsize=4)  # a report asks for every cell
def _secrets(environment: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """Values of the variables that are named like secrets."""
    return tuple(
        value
        for name, value in environment
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET
    )


def without_password(text: str) -> str:
    """The text with *** for every password of a URL in it."""
    return _PASSWORD_KEY.sub(r"\1=***", _PASSWORD.sub(r"\1:***@", text))


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
