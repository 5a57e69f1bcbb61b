"""Operations in an event loop of asyncio, such as the standard one or uvloop.

The loop watches one descriptor. It is readable when operations can go on, and the
loop's own thread then continues them. No other thread or runtime is needed.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from typing import TYPE_CHECKING, Any

from ._native import Bridge

if TYPE_CHECKING:
    from ._native import Operation

#: The bridge of each loop. It goes with the loop, which owns its callback.
_bridges: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Bridge] = (
    weakref.WeakKeyDictionary()
)


async def run(operation: Operation[Any]) -> Any:
    """Waits for the end of an operation. Cancelling gives the operation up."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    bridge = _bridges.get(loop)
    if bridge is None:
        bridge = _bridges[loop] = Bridge()
        loop.add_reader(bridge.fileno(), bridge.dispatch)
    number = bridge.start(operation, future)
    try:
        return await future
    finally:
        if not future.done() or future.cancelled():
            bridge.forget(number)


# The loop of a parent process means nothing in its fork.
os.register_at_fork(after_in_child=_bridges.clear)
