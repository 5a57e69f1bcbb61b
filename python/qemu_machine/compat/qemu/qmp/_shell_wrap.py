"""The QEMU that ``qmp-shell-wrap`` starts."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import threading
from types import TracebackType
from typing import List, Optional, Type


class WrappedQemu:
    """A QEMU that connects its monitor to a unix socket that we listen at.

    It ends with the ``with`` block.

    :raise OSError: It cannot be started.
    """

    def __init__(self, command: List[str], path: str) -> None:
        self._path = path
        command = [*command, "-qmp", f"unix:{path}"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self._watch = threading.Thread(target=self._wake_listener, daemon=True)
        self._watch.start()

    def __enter__(self) -> WrappedQemu:
        return self

    def __exit__(
        self,
        exc_type: Optional[Type[BaseException]],
        exc_val: Optional[BaseException],
        exc_tb: Optional[TracebackType],
    ) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def wait(self, seconds: float) -> Optional[int]:
        """Return the exit code, or None if it runs on for so many seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None

    def _wake_listener(self) -> None:
        """When QEMU has ended, connect and close, so that nobody waits for it."""
        with contextlib.suppress(OSError):
            pidfd = os.pidfd_open(self._process.pid)
            try:
                # The main thread reaps it.
                select.select([pidfd], [], [])
            finally:
                os.close(pidfd)
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(self._path)


#: QEMU has so many seconds to end after SIGTERM.
_GRACE = 10.0
