"""Events: listeners, and their registration with a client."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager
from typing import (
    AsyncIterator,
    Callable,
    Deque,
    Iterable,
    Iterator,
    List,
    Optional,
    Set,
    Tuple,
    Union,
)

from ._loggers import PROTOCOL_LOGGER
from .error import QMPError
from .message import Message

EventNames = Union[str, Iterable[str], None]
EventFilter = Callable[[Message], bool]

#: A listener holds up to so many events that nobody has taken, and remembers up
#: to so many in its history. The oldest go first.
MAX_EVENTS = 100_000


class ListenerError(QMPError):
    """A listener is registered twice, or may not be removed."""


class EventListener:
    """A queue of the events that match.

    It fills from its registration on, whether or not someone waits. It belongs to
    no event loop before someone waits.

    :param names: One name, several, or None for all events.
    :param event_filter: Called with each event of these names. The listener
        takes the event if it returns True.
    """

    def __init__(
        self, names: EventNames = None, event_filter: Optional[EventFilter] = None
    ) -> None:
        #: The names. Empty means every name.
        self.names: Set[str] = _as_set(names)
        #: The filter, or None.
        self.event_filter = event_filter
        self._pending: Deque[Message] = deque()
        self._history: Deque[Message] = deque(maxlen=MAX_EVENTS)
        self._waiters: Deque[asyncio.Future[None]] = deque()
        self._has_dropped = False

    @property
    def history(self) -> Tuple[Message, ...]:
        """The events accepted so far, also those already taken or cleared.

        It ends with the newest. Only the newest 100,000 are remembered.
        """
        return tuple(self._history)

    def accept(self, event: Message) -> bool:
        """Return whether this listener takes the event."""
        name = event.get("event")
        if self.names and not (isinstance(name, str) and name in self.names):
            return False
        return self.event_filter is None or bool(self.event_filter(event))

    async def put(self, event: Message) -> None:
        """Add an event to the queue, and wake the first waiter."""
        if len(self._pending) >= MAX_EVENTS:
            self._pending.popleft()
            if not self._has_dropped:
                self._has_dropped = True
                PROTOCOL_LOGGER.info(
                    "%r holds %d events that nobody takes. The oldest are dropped.",
                    self,
                    MAX_EVENTS,
                )
        self._pending.append(event)
        self._history.append(event)
        self._wake()

    async def get(self) -> Message:
        """Return the oldest event. Wait if there is none.

        A cancelled call loses no event.
        """
        while not self._pending:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except BaseException:
                # The wake-up may have been spent on this call.
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
                elif self._pending:
                    self._wake()
                raise
        return self._pending.popleft()

    def empty(self) -> bool:
        """Return whether no event is pending."""
        return not self._pending

    def clear(self) -> List[Message]:
        """Remove all pending events, and return them."""
        events = list(self._pending)
        self._pending.clear()
        return events

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        return await self.get()

    def __repr__(self) -> str:
        parts = []
        if self.names:
            parts.append(f"names={self.names!r}")
        if self.event_filter is not None:
            parts.append(f"event_filter={self.event_filter!r}")
        return f"EventListener<pending={len(self._pending)}>({', '.join(parts)})"

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return


class Events:
    """A mix-in of a client: its listeners."""

    def __init__(self) -> None:
        self._listeners: List[EventListener] = []
        #: Takes every event. It is always registered.
        self.events: EventListener = EventListener()
        self.register_listener(self.events)

    def register_listener(self, listener: EventListener) -> None:
        """Start to deliver events to this listener.

        :raise ListenerError: It is registered already.
        """
        if any(listener is other for other in self._listeners):
            raise ListenerError("Attempted to re-register existing listener")
        self._listeners.append(listener)

    def remove_listener(self, listener: EventListener) -> None:
        """Stop to deliver events to this listener, and clear it.

        :raise ListenerError: It is the default listener.
        :raise ValueError: It is not registered.
        """
        if listener is self.events:
            raise ListenerError("Cannot remove the default listener.")
        for index, other in enumerate(self._listeners):
            if other is listener:
                del self._listeners[index]
                listener.clear()
                return
        raise ValueError(f"{listener!r} is not registered")

    @contextmanager
    def listen(self, *listeners: EventListener) -> Iterator[None]:
        """Register these listeners inside a ``with`` block."""
        added: List[EventListener] = []
        try:
            for listener in listeners:
                self.register_listener(listener)
                added.append(listener)
            yield
        finally:
            for listener in added:
                self.remove_listener(listener)

    @contextmanager
    def listener(
        self, names: EventNames = (), event_filter: Optional[EventFilter] = None
    ) -> Iterator[EventListener]:
        """Make a listener, and register it inside a ``with`` block."""
        listener = EventListener(names, event_filter)
        with self.listen(listener):
            yield listener

    async def _event_dispatch(self, event: Message) -> None:
        """Give an event to each listener that accepts it."""
        for listener in tuple(self._listeners):
            if listener.accept(event):
                await listener.put(event)


def _as_set(names: EventNames) -> Set[str]:
    if names is None:
        return set()
    return {names} if isinstance(names, str) else set(names)
