"""Small helpers for coroutines, streams and tracebacks.

The public names are the union of what several releases of QEMU's package had.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
import warnings
from typing import Any, Callable, Coroutine, Optional, TypeVar

T = TypeVar("T")
_F = TypeVar("_F", bound=Callable[..., Any])


async def flush(writer: asyncio.StreamWriter) -> None:
    """Wait until the transport has taken all bytes of the writer.

    ``drain`` alone returns as soon as the buffer is below its high-water mark.
    So the mark is zero for the time of this call.
    """
    transport = writer.transport
    if transport.get_write_buffer_size() == 0:
        await writer.drain()  # It raises if the connection is lost.
        return
    transport.set_write_buffer_limits(high=0, low=0)
    try:
        await writer.drain()
    finally:
        transport.set_write_buffer_limits()


def upper_half(func: _F) -> _F:
    """Mark a function that the user's task calls."""
    return func


def bottom_half(func: _F) -> _F:
    """Mark a function that a task of the connection calls."""
    return func


def create_task(
    coro: Coroutine[Any, Any, T], loop: Optional[asyncio.AbstractEventLoop] = None
) -> asyncio.Task[T]:
    """Start a task in this loop, or in the running one."""
    return (loop or asyncio.get_running_loop()).create_task(coro)


def is_closing(writer: asyncio.StreamWriter) -> bool:
    """Return whether the writer is closed, or about to be."""
    return writer.is_closing()


async def wait_closed(writer: asyncio.StreamWriter) -> None:
    """Wait until a closed writer has released its transport."""
    await writer.wait_closed()


def asyncio_run(coro: Coroutine[Any, Any, T], *, debug: bool = False) -> T:
    """Run a coroutine to its end in a new event loop."""
    return asyncio.run(coro, debug=debug)


def get_or_create_event_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of this thread. Make one where there is none."""
    loop: Optional[asyncio.AbstractEventLoop]
    with warnings.catch_warnings():
        # Some releases of Python warn here, others raise.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            loop = asyncio.get_event_loop()
        except RuntimeError:
            loop = None
    if loop is None or loop.is_closed():
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
    return loop


def exception_summary(exc: BaseException) -> str:
    """Return ``module.Class: text``, as the last line of a traceback.

    The module is left out for builtins and ``__main__``, the text where it is
    empty.
    """
    kind = type(exc)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__"):
        name = f"{kind.__module__}.{name}"
    text = str(exc)
    return f"{name}: {text}" if text else name


def pretty_traceback(prefix: str = "  | ") -> str:
    """Return the traceback of the current exception, each line with a prefix."""
    lines = "".join(traceback.format_exception(*sys.exc_info())).splitlines()
    return "\n".join(prefix + line for line in lines)
