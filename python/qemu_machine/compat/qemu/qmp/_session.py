"""The handshake of QMP. Pure: which message follows which."""

from __future__ import annotations

from typing import Dict, Mapping

from ._exec_errors import return_value
from .message import Message
from .models import Greeting


def greeting_of(msg: Mapping[str, object]) -> Greeting:
    """Return the first message of a server, checked.

    :raise KeyError: A member is missing.
    :raise TypeError: A member is of another type.
    """
    return Greeting(dict(msg))


def negotiation(greeting: Greeting) -> Message:
    """Return the command that answers the greeting.

    It enables out-of-band execution where the server offers it.
    """
    arguments: Dict[str, object] = {}
    if "oob" in greeting.QMP.capabilities:
        arguments["enable"] = ["oob"]
    return Message({"execute": "qmp_capabilities", "arguments": arguments})


def check_negotiation(greeting: Greeting, reply: Mapping[str, object]) -> None:
    """Check the reply to the negotiation.

    :raise QMPError: It is an error, or malformed.
    """
    return_value(negotiation(greeting), reply)
