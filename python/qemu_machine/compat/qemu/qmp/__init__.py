"""A client of the QEMU Machine Protocol (QMP), in asyncio.

``QMPClient`` connects and executes commands. ``EventListener`` queues events.
``qemu.qmp.legacy`` has the blocking client.
"""

import logging

from .error import QMPError
from .events import EventListener
from .message import Message
from .protocol import ConnectError, Runstate, SocketAddrT, StateError
from .qmp_client import ExecInterruptedError, ExecuteError, QMPClient

# A program that sets up no logging sees no record of this package.
logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())

__all__ = (
    "ConnectError",
    "EventListener",
    "ExecInterruptedError",
    "ExecuteError",
    "Message",
    "QMPClient",
    "QMPError",
    "Runstate",
    "SocketAddrT",
    "StateError",
)
