"""The keyboard of ``qmp-shell``: completion and history, through readline."""

from __future__ import annotations

import logging
import os
import sys
from typing import Callable, List, Optional

_LOG = logging.getLogger("qemu.qmp.qmp_shell")
_HISTORY = os.path.join("~", ".qmp-shell_history")
_LINES = 1024


class Completer:
    """The words that readline offers."""

    def __init__(self) -> None:
        self.words: List[str] = []

    def complete(self, text: str, state: int) -> Optional[str]:
        """Return the match of this number, or None after the last one."""
        matches = [word for word in self.words if word.startswith(text)]
        return matches[state] if state < len(matches) else None


def is_interactive() -> bool:
    """Return whether a person types."""
    try:
        return sys.stdin.isatty()
    except (AttributeError, ValueError):
        return False


def prepare(completer: Completer) -> Callable[[], None]:
    """Set up readline, and read the history. Return what saves the history.

    Where nobody types, or readline is missing, nothing happens.
    """
    if not is_interactive():
        return _do_nothing
    try:
        import readline  # It may print to the terminal.
    except ImportError:
        return _do_nothing
    path = os.path.expanduser(_HISTORY)
    readline.set_completer(completer.complete)
    readline.set_completer_delims(" \t\n")
    readline.parse_and_bind("tab: complete")
    readline.set_history_length(_LINES)
    try:
        readline.read_history_file(path)
    except FileNotFoundError:
        pass
    except OSError as err:
        _LOG.warning("Failed to read history '%s': %s", path, err)

    def save() -> None:
        try:
            readline.write_history_file(path)
        except OSError as err:
            _LOG.warning("Failed to save history '%s': %s", path, err)

    return save


def _do_nothing() -> None:
    """Save nothing."""
