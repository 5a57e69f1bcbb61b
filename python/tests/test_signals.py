"""A signal's handler interrupts every wait of the blocking client."""

import asyncio
import os
import signal
import socket
import threading
from typing import Any, Callable, Dict, List

from tests.scripted import Peer, Test, calling, playing, scratch, to_path

from qemu.qmp.legacy import QEMUMonitorProtocol


class Interrupted(OSError):
    """Raised by the handler. It must not pass for an error of the connection."""


class Signals(Test):
    def setUp(self) -> None:
        super().setUp()

        def handle(number: int, frame: Any) -> None:
            raise Interrupted

        previous = signal.signal(signal.SIGUSR1, handle)
        self.addCleanup(signal.signal, signal.SIGUSR1, previous)

    def test_every_wait_of_a_session_is_interrupted_and_the_session_goes_on(self) -> None:
        waits: Dict[str, Callable[[QEMUMonitorProtocol], Any]] = {
            "cmd": lambda monitor: monitor.cmd("silent"),
            "cmd_raw": lambda monitor: monitor.cmd_raw("silent"),
            "pull_event": lambda monitor: monitor.pull_event(wait=True),
            "get_events": lambda monitor: monitor.get_events(wait=60),
        }
        main = threading.main_thread().ident
        assert main is not None
        for name, wait in waits.items():

            def script(peer: Peer) -> None:
                peer.shake_hands()
                silent = peer.read() if name.startswith("cmd") else None
                is_waiting.wait()
                signal.pthread_kill(main, signal.SIGUSR1)
                if silent is not None:
                    peer.reply(silent, "late")
                peer.answer("next")

            is_waiting = threading.Event()
            with self.subTest(name), playing(script) as sock:
                with QEMUMonitorProtocol(sock) as monitor:
                    monitor.connect()
                    with self.assertRaises(Interrupted):
                        is_waiting.set()
                        wait(monitor)
                        signal.pause()  # The signal may come after the wait's end.
                    self.assertEqual(monitor.cmd_raw("next"), {"return": "next"})

    def test_an_interrupted_connect_or_accept_is_idle(self) -> None:
        def script(peer: Peer) -> None:
            peer.greet()
            peer.read()
            os.kill(os.getpid(), signal.SIGUSR1)

        with playing(script) as sock:
            monitor = QEMUMonitorProtocol(sock)
            with self.assertRaises(Interrupted):
                monitor.connect()
            self.assertEqual(monitor._qmp.runstate.name, "IDLE")
        with scratch() as folder:
            path = os.path.join(folder, "s")
            with QEMUMonitorProtocol(path, server=True) as monitor:
                with calling(script, lambda: to_path(path)):
                    with self.assertRaises(Interrupted):
                        monitor.accept(timeout=None)
                    self.assertEqual(monitor._qmp.runstate.name, "IDLE")

    def test_a_signal_ends_no_wait_for_a_place_in_the_queue_of_the_listener(self) -> None:
        seen: List[int] = []
        previous = signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
        self.addCleanup(signal.signal, signal.SIGALRM, previous)
        with scratch() as folder, socket.socket(socket.AF_UNIX) as server:
            path = os.path.join(folder, "s")
            server.bind(path)
            server.listen(0)
            with to_path(path), QEMUMonitorProtocol(path) as monitor:
                monitor.settimeout(0.25)
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                # Python would take the interrupted socket for connected.
                with self.assertRaises(asyncio.TimeoutError):
                    monitor.connect()
        self.assertEqual(seen, [signal.SIGALRM])
