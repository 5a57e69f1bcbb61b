"""qemu-ga-client."""

import base64
import contextlib
import io
import sys
from typing import Any, List, Tuple
from unittest import mock

from tests.scripted import Peer, Test, listening

from qemu.utils import qemu_ga_client
from qemu.utils.qemu_ga_client import QemuGuestAgentClient

CONTENT = b"hello\x00\xff from the guest\n"


class Agent:
    """An agent that keeps the commands it got. It may leave out ids."""

    def __init__(self, echoes: bool = True) -> None:
        self.echoes = echoes
        self.seen: List[Any] = []
        self.parts = [CONTENT[:5], CONTENT[5:]]

    def play(self, peer: Peer) -> None:
        while True:
            command = peer.read()
            if command is None:
                return
            self.seen.append((command["execute"], command["arguments"]))
            value = self.answer(command["execute"], command["arguments"])
            if value is None:
                continue
            ids = {"id": command["id"]} if self.echoes else {}
            peer.send({"return": value, **ids})

    def answer(self, name: str, arguments: Any) -> Any:
        if name == "guest-sync":
            return arguments["id"]
        if name == "guest-file-open":
            return 7
        if name == "guest-file-read":
            part = self.parts.pop(0)
            encoded = base64.b64encode(part).decode()
            return {"count": len(part), "buf-b64": encoded, "eof": not self.parts}
        if name == "guest-info":
            commands = [{"name": "guest-ping", "enabled": True}]
            return {"version": "10.0.2", "supported_commands": commands}
        if name == "guest-network-get-interfaces":
            address = {"ip-address-type": "ipv4", "ip-address": "10.0.2.15", "prefix": 24}
            return [{"name": "eth0", "hardware-address": "52:54", "ip-addresses": [address]}]
        if name == "guest-fsfreeze-status":
            return "thawed"
        if name.startswith("guest-suspend") or name == "guest-shutdown":
            return None
        return {}


class Tools(Test):
    def run_tool(self, agent: Agent, *args: str) -> Tuple[str, Any]:
        out = io.TextIOWrapper(io.BytesIO(), write_through=True)
        status: Any = 0
        with listening(agent.play) as path:
            words = ["qemu-ga-client", "--address", path, *args]
            with mock.patch.object(sys, "argv", words), contextlib.redirect_stdout(out):
                try:
                    qemu_ga_client.main()
                except SystemExit as end:
                    status = end.code
        return out.buffer.getvalue().decode("latin-1"), status

    def test_a_file_is_copied_byte_by_byte(self) -> None:
        for echoes in (True, False):
            agent = Agent(echoes)
            self.assertEqual(self.run_tool(agent, "cat", "x"), (CONTENT.decode("latin-1"), 0))
            self.assertEqual(agent.seen[-1], ("guest-file-close", {"handle": 7}))

    def test_what_the_agent_reports_is_printed(self) -> None:
        for args, words in (
            (["info"], "guest-ping enabled"),
            (["ifconfig"], "inet 10.0.2.15/24"),
            (["fsfreeze", "status"], "thawed\n"),
            (["ping"], ""),
        ):
            printed, status = self.run_tool(Agent(), *args)
            self.assertIn(words, printed)
            self.assertEqual(status, 0)

    def test_a_shutdown_has_no_reply(self) -> None:
        with mock.patch.object(qemu_ga_client, "_NO_REPLY", 0.01):
            for args, expected in (
                (["reboot"], ("guest-shutdown", {"mode": "reboot"})),
                (["suspend", "ram"], ("guest-suspend-ram", {})),
            ):
                agent = Agent()
                self.assertEqual(self.run_tool(agent, *args), ("", 0))
                self.assertEqual(agent.seen[-1], expected)

    def test_an_agent_that_leaves_at_a_shutdown_has_obeyed(self) -> None:
        class Leaving(Agent):
            def play(self, peer: Peer) -> None:
                while not self.seen or self.seen[-1][0] == "guest-sync":
                    command = peer.read()
                    self.seen.append((command["execute"], command["arguments"]))
                    if command["execute"] == "guest-sync":
                        peer.reply(command, command["arguments"]["id"])
                peer.close()

        for args in (["powerdown"], ["shutdown"], ["halt"], ["reboot"], ["suspend", "disk"]):
            with self.subTest(args):
                self.assertEqual(self.run_tool(Leaving(), *args), ("", 0))
        self.assertEqual(self.run_tool(Leaving(), "info")[1], "ERROR: Disconnected")

    def test_a_silent_agent_is_reported(self) -> None:
        class Silent(Agent):
            def answer(self, name: str, arguments: Any) -> Any:
                return None

        with contextlib.redirect_stderr(io.StringIO()):
            self.assertEqual(self.run_tool(Silent(), "ping", "0.01")[1], 1)
        with mock.patch.object(QemuGuestAgentClient.sync, "__defaults__", (0.01,)):
            status = self.run_tool(Silent(), "info")[1]
        self.assertEqual(status, "ERROR: the agent does not answer")

    def test_wrong_arguments_are_refused(self) -> None:
        err = io.StringIO()
        with contextlib.redirect_stderr(err):
            for args in (["cat"], ["fsfreeze", "melt"], ["suspend"], ["halt", "now"]):
                self.assertEqual(self.run_tool(Agent(), *args)[1], 2)
            words = ["tool", "--address", "/nowhere", "ping"]
            with mock.patch.object(sys, "argv", words), self.assertRaises(SystemExit) as end:
                qemu_ga_client.main()
        self.assertIn("fsfreeze takes status|freeze|thaw", err.getvalue())
        self.assertIn("Couldn't connect to /nowhere", str(end.exception.code))
