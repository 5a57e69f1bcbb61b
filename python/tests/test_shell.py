"""qmp-shell and qmp-shell-wrap, as programs."""

import json
import os
import subprocess
import sys
import textwrap
import time
from typing import Any, List, Optional

from tests.scripted import FOLDER, Peer, Script, Test, event, listening, scratch

BANNER = "Welcome to the QMP low-level shell!\nConnected to QEMU 10.0.2\n\n"
QEMU = f"""
    import json, socket, sys
    sys.path.insert(0, {os.path.dirname(__file__)!r})
    from commands import commands
    path = sys.argv[sys.argv.index("-qmp") + 1][len("unix:"):]
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    def send(value):
        sock.sendall(json.dumps(value).encode() + b"\\n")
    version = dict(qemu=dict(major=10, minor=0, micro=2), package="")
    send(dict(QMP=dict(version=version, capabilities=[])))
    for message in commands(lambda: sock.recv(4096)):
        command = message["execute"]
        send({{"return": dict(name=command) if command == "query-name" else {{}}}})
        if command == "quit":
            break
"""


class Programs(Test):
    def run_program(
        self, module: str, *args: str, input: str = "", cwd: Optional[str] = None
    ) -> "subprocess.CompletedProcess[str]":
        entry = f"import sys; from qemu.qmp.qmp_shell import {module} as main; sys.exit(main())"
        env = {**os.environ, "PYTHONPATH": FOLDER, "HOME": "/nowhere"}
        env.pop("QMP_SOCKET", None)
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", entry, *args],
            input=input,
            env=env,
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
        )

    def shell(self, script: Script, input: str, *options: str) -> Any:
        def whole(peer: Peer) -> None:
            peer.shake_hands()
            script(peer)

        with listening(whole) as path:
            return self.run_program("main", *options, path, input=input)

    def test_replies_are_printed_in_the_order_of_their_keys(self) -> None:
        seen: List[Any] = []

        def script(peer: Peer) -> None:
            seen.append(peer.answer({"b": 1, "a": 2}))
            peer.read()
            peer.send({"error": {"class": "CommandNotFound", "desc": "unknown"}})

        ended = self.shell(script, "query-a x.y=1 x.z=true\nno-such\n")
        self.assertEqual(ended.stderr, "")
        self.assertEqual(
            ended.stdout,
            BANNER
            + '(QEMU) {"return": {"b": 1, "a": 2}}\n'
            + '(QEMU) {"error": {"class": "CommandNotFound", "desc": "unknown"}}\n'
            + "(QEMU) \n",
        )
        self.assertEqual(ended.returncode, 0)
        arguments = {"x": {"y": 1, "z": True}}
        self.assertEqual(seen, [{"execute": "query-a", "arguments": arguments}])

    def test_verbose_and_pretty_show_both_messages_sorted(self) -> None:
        ended = self.shell(lambda peer: peer.answer({"b": 1, "a": 2}), "x\n", "-v", "-p")
        shown = ended.stdout[len(BANNER + "(QEMU) ") :]
        request = json.dumps({"arguments": {}, "execute": "x"}, indent=4)
        reply = json.dumps({"return": {"a": 2, "b": 1}}, indent=4)
        self.assertEqual(shown, f"{request}\n{reply}\n(QEMU) \n")

    def test_a_transaction_is_sent_as_one_command(self) -> None:
        for lines in ("transaction(\na x=1\nb\n)\n", "transaction( a x=1\nb )\n"):
            seen: List[Any] = []
            ended = self.shell(lambda peer: seen.append(peer.answer()), lines)
            actions = [{"type": "a", "data": {"x": 1}}, {"type": "b", "data": {}}]
            self.assertEqual(
                seen, [{"execute": "transaction", "arguments": {"actions": actions}}]
            )
            self.assertIn("TRANS> ", ended.stdout)

    def test_a_mistake_goes_to_stderr_and_the_shell_goes_on(self) -> None:
        ended = self.shell(lambda peer: peer.answer(), "x word\nx 'open\nx\n")
        self.assertEqual(ended.stderr.count("Error while parsing command line: "), 2)
        self.assertIn("command format: <command-name>", ended.stderr)
        self.assertIn('{"return": {}}', ended.stdout)
        self.assertEqual(ended.returncode, 0)

    def test_an_empty_line_prints_the_pending_events(self) -> None:
        def script(peer: Peer) -> None:
            peer.send(event("STOP"))
            peer.answer()

        ended = self.shell(script, "x\n\n")
        self.assertIn(str(event("STOP")) + "\n", ended.stdout)

    def test_the_human_monitor_prints_plain_text(self) -> None:
        seen: List[Any] = []

        def script(peer: Peer) -> None:
            seen.append(peer.answer("VM status: running\r\n"))
            seen.append(peer.answer("10.0.2\r\n"))
            seen.append(peer.answer(""))
            peer.read()
            peer.send({"error": {"class": "GenericError", "desc": "no"}})

        ended = self.shell(script, "info status\ncpu 1\nstop\nbad\n", "-H")
        self.assertIn("Welcome to the HMP shell!\n", ended.stdout)
        self.assertIn("(QEMU) VM status: running\n (QEMU) ", ended.stdout.replace("\r", ""))
        self.assertIn("GenericError: no\n", ended.stdout)
        lines = [it["arguments"]["command-line"] for it in seen]
        self.assertEqual(lines, ["info status", "info version", "stop"])
        self.assertEqual(seen[-1]["arguments"]["cpu-index"], 1)

    def test_d22_quit_and_a_lost_server_print_no_traceback(self) -> None:
        def script(peer: Peer) -> None:
            peer.answer()
            peer.close()

        ended = self.shell(script, "quit\n")
        self.assertEqual((ended.stderr, ended.returncode), ("", 0))
        ended = self.shell(script, "quit\nquery-name\n")
        self.assertEqual(ended.stderr, "ERROR: QEMU has closed the connection\n")
        self.assertEqual(ended.returncode, 1)

    def test_a_log_file_has_a_line_for_each_command(self) -> None:
        with scratch() as folder:
            log = os.path.join(folder, "log")
            self.shell(lambda peer: peer.answer(3), "x a=1\n", "-l", log)
            with open(log, encoding="utf-8") as file:
                line = json.loads(file.read())
        self.assertEqual(line, {"execute": "x", "arguments": {"a": 1}, "return": 3})

    def test_a_guest_agent_needs_no_negotiation(self) -> None:
        with listening(lambda peer: peer.answer(3)) as path:
            ended = self.run_program("main", "-N", path, input="guest-ping\n")
        self.assertIn("Connected\n(QEMU) {", ended.stdout)

    def test_what_cannot_be_reached_is_named(self) -> None:
        for address, words in (
            ("/nowhere/qmp", "ERROR: Couldn't connect to /nowhere/qmp: "),
            ("a:b", "ERROR: Bad port: 'b' in 'a:b'."),
        ):
            ended = self.run_program("main", address)
            self.assertTrue(ended.stderr.startswith(words), ended.stderr)
            self.assertEqual((ended.returncode, ended.stdout), (1, ""))
        self.assertEqual(self.run_program("main").returncode, 2)

    def wrap(self, qemu: str, input: str) -> Any:
        with scratch() as folder:
            program = os.path.join(folder, "fake.py")
            with open(program, "w", encoding="utf-8") as file:
                file.write(textwrap.dedent(qemu))
            command = ["--", sys.executable, program, "-name", "x"]
            ended = self.run_program("main_wrap", *command, input=input, cwd=folder)
            self.assertEqual(os.listdir(folder), ["fake.py"])
        return ended

    def test_d22_the_wrapper_starts_qemu_and_ends_with_it(self) -> None:
        ended = self.wrap(QEMU, "query-name\nquit\n")
        self.assertEqual((ended.stderr, ended.returncode), ("", 0))
        self.assertEqual(
            ended.stdout,
            "Welcome to the QMP low-level shell!\nConnected\n"
            '(QEMU) {"return": {"name": "query-name"}}\n(QEMU) {"return": {}}\n(QEMU) \n',
        )

    def test_d22_the_wrapper_ends_qemu_at_the_end_of_the_input(self) -> None:
        pid = "import os; open('pid', 'w').write(str(os.getpid()))\n"
        with scratch() as folder:
            program = os.path.join(folder, "fake.py")
            with open(program, "w", encoding="utf-8") as file:
                file.write(pid + textwrap.dedent(QEMU))
            self.run_program("main_wrap", sys.executable, program, cwd=folder)
            with open(os.path.join(folder, "pid"), encoding="utf-8") as file:
                with self.assertRaises(ProcessLookupError):
                    os.kill(int(file.read()), 0)

    def test_d23_a_qemu_that_exits_at_once_is_reported_at_once(self) -> None:
        started = time.monotonic()
        ended = self.wrap("import sys; sys.exit(3)", "")
        self.assertLess(time.monotonic() - started, 10)
        self.assertIn("it exited with status 3\n", ended.stderr)
        self.assertNotIn("Traceback", ended.stderr)
        self.assertEqual(ended.returncode, 1)

    def test_a_missing_qemu_is_named(self) -> None:
        ended = self.run_program("main_wrap", "/nowhere/qemu")
        self.assertIn("ERROR: Couldn't launch /nowhere/qemu", ended.stderr)
        self.assertEqual(ended.returncode, 1)
