"""Checked views of the objects that a QMP server sends."""

from __future__ import annotations

import copy
from typing import Any, Dict, Mapping, Optional, Sequence


class Model:
    """A view of one JSON object. Making it checks the members that it needs."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self._raw = raw

    def _member(self, key: str, kind: type, kind_name: str) -> Any:
        """Return a member of the object.

        Raise KeyError if it is missing, TypeError if it is of another kind.
        """
        owner = type(self).__name__
        if key not in self._raw:
            raise KeyError(f"'{owner}' object requires '{key}' member")
        value = self._raw[key]
        if not isinstance(value, kind) or isinstance(value, str) is not (kind is str):
            raise TypeError(f"'{owner}' member '{key}' must be a {kind_name}")
        return value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._raw!r})"


class QMPGreeting(Model):
    """What the greeting says: the version, and what the client may enable."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        super().__init__(raw)
        #: The version of QEMU, as the greeting has it.
        self.version: Mapping[str, object] = self._member(
            "version", Mapping, "JSON object"
        )
        #: The names of the capabilities that the server offers.
        self.capabilities: Sequence[object] = self._member(
            "capabilities", Sequence, "JSON array"
        )


class Greeting(Model):
    """The first message of a server."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        super().__init__(raw)
        #: The one member of the message.
        self.QMP = QMPGreeting(  # pylint: disable=invalid-name
            self._member("QMP", Mapping, "JSON object")
        )

    def _asdict(self) -> Dict[str, object]:
        """Return the message as a plain dict that the caller may change."""
        return copy.deepcopy(dict(self._raw))


class ErrorInfo(Model):
    """The class and the description of an error reply."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        super().__init__(raw)
        #: The error class, for example ``GenericError``.
        self.class_: str = self._member("class", str, "string")
        #: The text for people.
        self.desc: str = self._member("desc", str, "string")


class ErrorResponse(Model):
    """An error reply."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        super().__init__(raw)
        #: The error of the reply.
        self.error = ErrorInfo(
            self._member("error", Mapping, "JSON object")
        )
        #: The id of the command, or None if it had none.
        self.id: Optional[object] = raw.get("id")
