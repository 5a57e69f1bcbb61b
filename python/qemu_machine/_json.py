"""The arguments of commands as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Optional

if TYPE_CHECKING:
    from typing import Mapping

_encode: Optional[Callable[[Any], str]] = None


def encode(arguments: Optional[Mapping[str, Any]]) -> str:
    """The JSON text of a command's arguments."""
    if not arguments:
        return "{}"
    global _encode
    if _encode is None:
        # Not before it is needed: the import takes some milliseconds.
        from json import JSONEncoder

        # NaN is no JSON.
        _encode = JSONEncoder(allow_nan=False).encode
    return _encode(arguments)
