"""A signal's handler may raise after every bytecode of the blocking client.

A trace function raises in its place: before each bytecode, one after the other.
"""

import json
import sys
from typing import Any, Callable, List, Tuple

from tests.scripted import Peer, Test, event, playing

from qemu.qmp.legacy import QEMUMonitorProtocol

TRACED = (
    "legacy.py",
    "_blocking_stream.py",
    "_event_queue.py",
    "_replies.py",
    "_sync_connection.py",
)

# Python 3.12 reports no bytecodes of the first frames, but lines.
EVENTS = ("line", "opcode") if sys.version_info[:2] == (3, 12) else ("opcode",)


class Interrupted(BaseException):
    """Raised by the trace function."""


def interrupted_at(
    place: int, call: Callable[[], Any], traced: Tuple[str, ...] = TRACED
) -> bool:
    """Call, and raise before the bytecode of this number. Return whether it came.

    :param traced: The files whose bytecodes count.
    """
    count = 0

    def trace(frame: Any, what: str, _: Any) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.endswith(traced):
            return None
        frame.f_trace_opcodes = True
        if what in EVENTS:
            count += 1
            if count == place:
                raise Interrupted
        return trace

    sys.settrace(trace)
    try:
        call()
        return False
    except Interrupted:
        return True
    finally:
        sys.settrace(None)


def serve(peer: Peer) -> None:
    """Answer each command with its name, after an event that counts.

    Both arrive in two pieces, which end anywhere.
    """
    peer.shake_hands()
    count = 0
    while True:
        command = peer.read()
        if command is None:
            return
        ids = {"id": command["id"]} if "id" in command else {}
        reply = {"return": command["execute"], **ids}
        data = b"".join(
            json.dumps(it).encode() + b"\r\n" for it in (event("COUNT", n=count), reply)
        )
        place = count * 7 % len(data)
        peer.send_raw(data[:place])
        peer.send_raw(data[place:])
        count += 1


class Interruptions(Test):
    def session(
        self, wait: Callable[[QEMUMonitorProtocol], Any], pulls: bool = False
    ) -> List[int]:
        """Interrupt a call at each place. Return the numbers of all events.

        :param pulls: Pull all events after each interruption, before anything else.
        """
        numbers: List[int] = []
        with playing(serve) as sock, QEMUMonitorProtocol(sock) as monitor:
            monitor.connect()
            place = 1
            while interrupted_at(place, lambda: wait(monitor)):
                pulled = monitor.pull_event() if pulls else None
                while pulled is not None:
                    numbers.append(pulled["data"]["n"])
                    pulled = monitor.pull_event()
                for name in (f"raw-{place}", f"more-{place}"):
                    self.assertEqual(monitor.cmd_raw(name), {"return": name})
                self.assertEqual(monitor.cmd("own"), "own")
                numbers += [it["data"]["n"] for it in monitor.get_events()]
                place += 1
            numbers += [it["data"]["n"] for it in monitor.get_events()]
        self.assertGreater(place, 100)
        return numbers

    def test_an_interrupted_command_confuses_no_later_one_and_no_event_is_lost(self) -> None:
        for send in (
            lambda monitor: monitor.cmd_raw("interrupted"),
            lambda monitor: monitor.cmd("interrupted"),
        ):
            numbers = self.session(send)
            self.assertEqual(numbers, list(range(len(numbers))))

    def test_an_interrupted_wait_loses_at_most_the_event_that_it_was_to_return(self) -> None:
        def wait(monitor: QEMUMonitorProtocol) -> None:
            monitor.cmd_raw("before")
            monitor.pull_event(wait=True)

        for pulls in (False, True):
            numbers = self.session(wait, pulls)
            self.assertEqual(numbers, sorted(set(numbers)))
            lost = set(range(max(numbers))) - set(numbers)
            # The complete call takes one event by itself.
            self.assertLess(len(lost), 60)
