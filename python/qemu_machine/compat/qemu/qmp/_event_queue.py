"""The events of the blocking client that nobody has taken."""

from __future__ import annotations

from collections import deque
from typing import Any, Deque, Dict, List, Tuple

from .events import MAX_EVENTS


class EventQueue:
    """Pending events, the oldest first. Past 100,000 the oldest go."""

    def __init__(self) -> None:
        self._pending: Deque[Tuple[int, Dict[str, Any]]] = deque(maxlen=MAX_EVENTS)

    def __len__(self) -> int:
        return len(self._pending)

    def append(self, number: int, event: Dict[str, Any]) -> None:
        """Add the newest event. The same number twice is the same event."""
        if not self._pending or self._pending[-1][0] != number:
            self._pending.append((number, event))

    def take(self) -> Dict[str, Any]:
        """Remove and return the oldest event."""
        return self._pending.popleft()[1]

    def clear(self) -> List[Dict[str, Any]]:
        """Remove and return all events."""
        events = [event for _, event in self._pending]
        self._pending.clear()
        return events
