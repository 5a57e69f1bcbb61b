"""The events of the blocking client that nobody has taken."""

from __future__ import annotations

from collections import deque
from typing import Any, Deque, Dict, List, Tuple

from .events import MAX_EVENTS


class EventQueue:
    """Pending events, the oldest first. Past 100,000 the oldest go.

    Those of an ended session stay until someone takes them. A signal's handler may
    raise after every bytecode, and then the newest event comes again.
    """

    def __init__(self) -> None:
        self._pending: Deque[Tuple[_Key, Dict[str, Any]]] = deque(maxlen=MAX_EVENTS)
        self._session = 0
        #: The newest event of those that were removed.
        self._removed: _Key = (0, -1)

    def __len__(self) -> int:
        return len(self._pending)

    def begin_session(self) -> None:
        """The numbers of events begin again."""
        self._session += 1

    def append(self, number: int, event: Dict[str, Any]) -> None:
        """Add the newest event. The same number twice is the same event."""
        key = (self._session, number)
        newest = self._pending[-1][0] if self._pending else self._removed
        if key != newest:
            self._pending.append((key, event))

    def take(self) -> Dict[str, Any]:
        """Remove and return the oldest event."""
        self._removed, event = self._pending[0]
        self._pending.popleft()
        return event

    def clear(self) -> List[Dict[str, Any]]:
        """Remove and return all events."""
        events = [event for _, event in self._pending]
        if events:
            self._removed = self._pending[-1][0]
        self._pending.clear()
        return events


#: The session of an event, and its number there.
_Key = Tuple[int, int]
