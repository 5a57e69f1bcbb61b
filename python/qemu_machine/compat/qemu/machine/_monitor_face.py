"""The commands and events of a machine."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from qemu.qmp.events import MAX_EVENTS
from qemu.qmp.legacy import QEMUMonitorProtocol, QMPMessage, QMPReturnValue

from . import _event_match


class MonitorFace:
    """The part of a machine that talks to its monitor."""

    def __init__(self) -> None:
        #: What ``events_wait`` has passed over.
        self._events: List[QMPMessage] = []
        #: Whether QEMU has accepted ``quit``, or the end is expected.
        self._quit_issued = False

    @property
    def _qmp(self) -> QEMUMonitorProtocol:
        raise NotImplementedError

    # Commands.

    def send_fd_scm(self, fd: Optional[int] = None, file_path: Optional[str] = None) -> int:
        """Send QEMU a descriptor, or a file opened for reading. Return 0.

        The next ``getfd`` or ``add-fd`` finds it.
        """
        if (fd is None) == (file_path is None):
            raise AssertionError("exactly one of fd and file_path must be given")
        if fd is not None:
            self._qmp.send_fd_scm(fd)
        else:
            assert file_path is not None
            with open(file_path, "rb", buffering=0) as file:
                self._qmp.send_fd_scm(file.fileno())
        return 0

    @classmethod
    def _qmp_args(cls, conv_keys: bool, args: Mapping[str, Any]) -> Dict[str, object]:
        """Return arguments of a command. ``_`` in names stands for ``-``."""
        if conv_keys:
            return {key.replace("_", "-"): value for key, value in args.items()}
        return dict(args)

    def _given_args(
        self,
        args_dict: Optional[Mapping[str, Any]],
        conv_keys: Optional[bool],
        args: Mapping[str, Any],
    ) -> Dict[str, object]:
        if args_dict is None:
            return self._qmp_args(conv_keys is not False, args) if args else {}
        if args or conv_keys is not None:
            raise AssertionError("a dict of arguments is sent alone, and as it is")
        return dict(args_dict)

    # Every name of an argument can be passed, also `cmd` and `self`.

    def qmp(
        self,
        cmd: Optional[str] = None,
        /,
        args_dict: Optional[Mapping[str, Any]] = None,
        conv_keys: Optional[bool] = None,
        **args: Any,
    ) -> QMPMessage:
        """Send a command, and return the whole reply, also if it is an error.

        :param cmd: The command.
        :param args_dict: Its arguments, as they are.
        :param conv_keys: Replace ``_`` by ``-`` in the names of ``args``.
        """
        if cmd is None:
            cmd = str(args.pop("cmd"))
        reply = self._qmp.cmd_raw(cmd, self._given_args(args_dict, conv_keys, args))
        if cmd == "quit" and "error" not in reply:
            self._quit_issued = True
        return reply

    def cmd(
        self,
        cmd: Optional[str] = None,
        /,
        args_dict: Optional[Mapping[str, Any]] = None,
        conv_keys: Optional[bool] = None,
        **args: Any,
    ) -> QMPReturnValue:
        """Execute a command, and return its return value.

        The parameters are those of ``qmp``.

        :raise ExecuteError: The reply is an error.
        """
        if cmd is None:
            cmd = str(args.pop("cmd"))
        value = self._qmp.cmd(cmd, **self._given_args(args_dict, conv_keys, args))
        if cmd == "quit":
            self._quit_issued = True
        return value

    #: The name of ``cmd`` in QEMU 7.2.
    command = cmd

    # Events.

    def get_qmp_event(self, wait: Union[bool, float] = False) -> Optional[QMPMessage]:
        """Return the oldest event, and wait for it as ``pull_event`` does."""
        if self._events:
            return self._events.pop(0)
        return self._qmp.pull_event(wait=wait)

    def get_qmp_events(self, wait: Union[bool, float] = False) -> List[QMPMessage]:
        """Return all events, or wait for one as ``pull_event`` does.

        Those that ``events_wait`` has passed over come last.
        """
        events = self._qmp.get_events(wait=wait)
        events += self._events
        self._events.clear()
        return events

    @staticmethod
    def event_match(event: Any, match: Optional[Any]) -> bool:
        """Return whether an event fits a pattern.

        None fits everything, and so does an empty string, list or mapping. Each
        key of a mapping must be in the event, and its value must fit. All else must
        be equal.
        """
        return _event_match.fits(event, match)

    def event_wait(
        self, name: str, timeout: float = 60.0, match: Optional[QMPMessage] = None
    ) -> Optional[QMPMessage]:
        """Wait for one event. See ``events_wait``."""
        return self.events_wait([(name, match)], timeout)

    def events_wait(
        self, events: Sequence[Tuple[str, Any]], timeout: float = 60.0
    ) -> Optional[QMPMessage]:
        """Wait for the first event that fits any of these names and patterns.

        All others stay for later.

        :param timeout: Seconds. Each event starts them again. True is no limit, and
            0 does not wait.
        :return: The event. None if there is none, and ``timeout`` is 0.
        :raise asyncio.TimeoutError: The seconds have passed.
        """

        def is_wanted(event: QMPMessage) -> bool:
            return any(
                event["event"] == name and self.event_match(event, match) for name, match in events
            )

        for number, event in enumerate(self._events):
            if is_wanted(event):
                return self._events.pop(number)
        while True:
            pulled = self._qmp.pull_event(wait=timeout)
            if pulled is None or is_wanted(pulled):
                return pulled
            self._events.append(pulled)
            del self._events[:-MAX_EVENTS]
