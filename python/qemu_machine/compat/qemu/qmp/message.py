"""One message of QMP: a JSON object, and its bytes."""

from __future__ import annotations

import json
from json import JSONDecodeError
from typing import Callable, Dict, Iterator, Mapping, MutableMapping, Optional, Sequence, Union

from .error import ProtocolError


class Message(MutableMapping[str, object]):
    """A JSON object that remembers the bytes it was made of.

    :param value: The bytes of an object, or a mapping, which is copied.
    :param eager: Convert at once, so that an error appears here. Otherwise the
        first access converts.
    """

    def __init__(
        self, value: Union[bytes, Mapping[str, object]] = b"{}", *, eager: bool = True
    ) -> None:
        self._bytes: Optional[bytes] = None
        self._members: Optional[Dict[str, object]] = None
        if isinstance(value, bytes):
            self._bytes = value
            if eager:
                self._members = self._deserialize(value)
        else:
            self._members = dict(value)
            if eager:
                self._bytes = self._serialize(self._members)

    @property
    def _object(self) -> Dict[str, object]:
        if self._members is None:
            self._members = self._deserialize(self._bytes or b"{}")
        return self._members

    def __getitem__(self, key: str) -> object:
        return self._object[key]

    def __setitem__(self, key: str, value: object) -> None:
        self._object[key] = value
        self._bytes = None

    def __delitem__(self, key: str) -> None:
        del self._object[key]
        self._bytes = None

    def __iter__(self) -> Iterator[str]:
        return iter(self._object)

    def __len__(self) -> int:
        return len(self._object)

    def __repr__(self) -> str:
        return f"Message({self._object!r})"

    def __str__(self) -> str:
        return json.dumps(self._object, indent=2)

    def __bytes__(self) -> bytes:
        if self._bytes is None:
            self._bytes = self._serialize(self._object)
        return self._bytes

    @classmethod
    def _serialize(cls, value: object) -> bytes:
        """Return compact JSON. NaN and the infinities are no JSON."""
        return _encoded(value).encode("ascii")

    @classmethod
    def _deserialize(cls, data: bytes) -> Dict[str, object]:
        try:
            value = json.loads(data)
        except (JSONDecodeError, UnicodeDecodeError, RecursionError) as err:
            raise DeserializationError("Failed to deserialize QMP message.", data) from err
        if not isinstance(value, dict):
            raise UnexpectedTypeError("QMP message is not a JSON object.", value)
        return value


class DeserializationError(ProtocolError):
    """The bytes of a message are not JSON."""

    def __init__(self, error_message: str, raw: bytes) -> None:
        super().__init__(error_message, raw)
        #: The bytes.
        self.raw = raw

    def __str__(self) -> str:
        return f"{self.error_message}\n  raw bytes were: {self.raw!r}"


class UnexpectedTypeError(ProtocolError):
    """A message is JSON, but no object."""

    def __init__(self, error_message: str, value: object) -> None:
        super().__init__(error_message, value)
        #: What the message is instead.
        self.value = value

    def __str__(self) -> str:
        value = json.dumps(self.value, indent=2)
        return f"{self.error_message}\n  json value was: {value}"


def _encoder() -> Callable[[object], str]:
    """Return what makes compact JSON of a value.

    The methods of ``json`` make a new encoder in C for each call, which takes
    longer than to encode a command. Only some Pythons let it be kept.
    """
    slow = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
    try:
        quick: Callable[[object, int], Sequence[str]] = getattr(json.encoder, "c_make_encoder")(
            None,  # a message that contains itself ends in a RecursionError
            slow.default,
            getattr(json.encoder, "encode_basestring_ascii"),
            None,
            slow.key_separator,
            slow.item_separator,
            False,
            False,
            False,
        )
    except (AttributeError, TypeError):
        return slow.encode
    return lambda value: "".join(quick(value, 0))


_encoded = _encoder()
