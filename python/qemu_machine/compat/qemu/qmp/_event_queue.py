"""The events of the blocking client that nobody has taken."""

from __future__ import annotations

from collections import deque
from typing import Any, Deque, Dict, List

from .events import MAX_EVENTS


class EventQueue:
    """Pending events, the oldest first. Past 100,000 the oldest go."""

    def __init__(self) -> None:
        self._pending: Deque[Dict[str, Any]] = deque(maxlen=MAX_EVENTS)

    def __len__(self) -> int:
        return len(self._pending)

    def append(self, event: Dict[str, Any]) -> None:
        """Add the newest event."""
        self._pending.append(event)

    def take(self) -> Dict[str, Any]:
        """Remove and return the oldest event."""
        return self._pending.popleft()

    def clear(self) -> List[Dict[str, Any]]:
        """Remove and return all events."""
        events = list(self._pending)
        self._pending.clear()
        return events
