"""``qmp-shell``: type QMP commands as ``command key=value``.

``qmp-shell SERVER`` connects to a QEMU. ``qmp-shell-wrap QEMU…`` starts one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from typing import Any, Callable, Dict, Iterator, List, Mapping, NoReturn, Optional, TextIO

from . import _shell_input
from ._shell_syntax import QMPShellError, parse, split
from ._shell_wrap import WrappedQemu
from .error import QMPError
from .legacy import QEMUMonitorProtocol, QMPMessage
from .protocol import ConnectError, SocketAddrT
from .qmp_client import ExecInterruptedError

__all__ = ("HMPShell", "QMPShell", "QMPShellError", "main", "main_wrap")


class QMPShell(QEMUMonitorProtocol):
    """A shell whose lines are QMP commands.

    :param address: A path, or a pair of host and port.
    :param pretty: Print replies on several lines, with sorted keys.
    :param verbose: Print what is sent, too.
    :param server: Listen at the address. ``connect`` waits for QEMU.
    :param logfile: A file that gets a line for each command.
    """

    def __init__(
        self,
        address: SocketAddrT,
        pretty: bool = False,
        verbose: bool = False,
        server: bool = False,
        logfile: Optional[str] = None,
    ) -> None:
        self._server = server
        self._greeting: Optional[QMPMessage] = None
        self._pretty = pretty
        self._verbose = verbose
        self._completer = _shell_input.Completer()
        self._save_history: Callable[[], None] = lambda: None
        #: The actions of the open transaction, or None.
        self._actions: Optional[List[Dict[str, object]]] = None
        #: Whether QEMU has accepted ``quit``.
        self.has_quit = False
        self._logfile: Optional[TextIO] = None
        if logfile is not None:
            try:
                self._logfile = open(logfile, "a", encoding="utf-8")
            except OSError as err:
                raise QMPShellError(f"cannot open the log file: {err}") from err
        super().__init__(address, server=server)

    def close(self) -> None:
        self._save_history()
        self._save_history = lambda: None
        if self._logfile is not None:
            self._logfile.close()
            self._logfile = None
        super().close()

    def connect(self, negotiate: bool = True) -> Optional[QMPMessage]:
        """Connect, or wait for QEMU to connect, and prepare the keyboard."""
        if self._server:
            # The banner of this mode has no version.
            greeting: Optional[QMPMessage] = self.accept(timeout=None)
        else:
            greeting = self._greeting = super().connect(negotiate)
        self._save_history = _shell_input.prepare(self._completer)
        if _shell_input.is_interactive():
            self._completer.words = self._find_words()
        return greeting

    @property
    def prompt(self) -> str:
        """What stands before the input."""
        return "(QEMU) " if self._actions is None else "TRANS> "

    def show_banner(self, msg: str = "Welcome to the QMP low-level shell!") -> None:
        """Print the welcome, and QEMU's version."""
        print(msg)
        if self._greeting is None:
            print("Connected")
            return
        version = self._greeting["QMP"]["version"]["qemu"]
        print("Connected to QEMU {major}.{minor}.{micro}\n".format(**version))

    def repl(self) -> Iterator[None]:
        """Read and execute lines. Each line is one step of the iterator."""
        while self.read_exec_command():
            yield

    def read_exec_command(self) -> bool:
        """Read and execute one line. Return whether the shell goes on."""
        try:
            line = input(self.prompt)
        except EOFError:
            print()
            return False
        if not line.strip():
            for event in self.get_events():
                print(event)
            return True
        self._execute_line(line)
        # A script goes on to its end.
        return not (self.has_quit and _shell_input.is_interactive())

    def _execute_line(self, line: str) -> None:
        try:
            command = self._build(line)
        except QMPShellError as err:
            print(f"Error while parsing command line: {err}\n", file=sys.stderr)
            print(_USAGE, end="", file=sys.stderr)
            return
        if command is not None:
            self._send(command)

    def _build(self, line: str) -> Optional[QMPMessage]:
        """Return the command to send, or None inside a transaction."""
        line = line.strip()
        if self._actions is None and line.startswith("transaction("):
            self._actions = []
            line = line[len("transaction(") :].strip()
        if self._actions is None:
            name, arguments = parse(split(line))
            return {"execute": name, "arguments": arguments}
        is_last = line.endswith(")")
        line = line[:-1].strip() if is_last else line
        if line:
            name, arguments = parse(split(line))
            self._actions.append({"type": name, "data": arguments})
        if not is_last:
            return None
        actions, self._actions = self._actions, None
        return {"execute": "transaction", "arguments": {"actions": actions}}

    def _send(self, command: QMPMessage) -> None:
        if self._verbose:
            self._print(command)
        reply = self.cmd_obj(command)
        self._print(reply)
        self._record(command, reply)
        self.has_quit = command["execute"] == "quit" and "return" in reply

    def _print(self, message: Mapping[str, object]) -> None:
        print(self._json(message))

    def _json(self, message: Mapping[str, object]) -> str:
        if self._pretty:
            return json.dumps(message, indent=4, sort_keys=True)
        return json.dumps(message)

    def _record(self, command: QMPMessage, reply: QMPMessage) -> None:
        if self._logfile is not None:
            self._logfile.write(json.dumps({**command, **reply}) + "\n")
            self._logfile.flush()

    def _find_words(self) -> List[str]:
        reply = self.cmd_raw("query-commands")
        return sorted(it["name"] for it in reply.get("return", []))


class HMPShell(QMPShell):
    """A shell whose lines are commands of the human monitor."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._cpu = 0
        super().__init__(*args, **kwargs)

    def show_banner(self, msg: str = "Welcome to the HMP shell!") -> None:
        super().show_banner(msg)

    def _execute_line(self, line: str) -> None:
        words = line.split()
        if words[0] == "cpu" and len(words) == 2:
            self._select_cpu(words[1])
            return
        command = self._command(line, self._cpu)
        if self._verbose:
            self._print(command)
        reply = self.cmd_obj(command)
        self._record(command, reply)
        if self._show(reply):
            self.has_quit = words[0] in ("quit", "q")

    def _select_cpu(self, number: str) -> None:
        """Ask QEMU something of this processor, so that it refuses a wrong one."""
        try:
            index = int(number)
        except ValueError:
            print(f"cpu: '{number}' is no number")
            return
        reply = self.cmd_obj(self._command("info version", index))
        if "return" in reply:
            self._cpu = index
        else:
            self._show(reply)

    def _show(self, reply: QMPMessage) -> bool:
        """Print the reply. Return whether it is no error."""
        if "error" in reply:
            print("{class}: {desc}".format(**reply["error"]))
            return False
        # Output mostly ends with a newline already.
        print(reply["return"], end=" " if reply["return"] else "")
        return True

    @staticmethod
    def _command(line: str, cpu: int) -> QMPMessage:
        arguments = {"command-line": line, "cpu-index": cpu}
        return {"execute": "human-monitor-command", "arguments": arguments}

    def _find_words(self) -> List[str]:
        words = []
        for about, prefix in (("help", ""), ("info", "info ")):
            text = self.cmd_raw("human-monitor-command", {"command-line": about})
            for line in str(text.get("return", "")).splitlines():
                names = line.split(maxsplit=1)[:1]
                if names and names[0] not in ("info", "["):
                    words += [prefix + name for name in names[0].split("|")]
        return sorted(set(words))


def main() -> None:
    """``qmp-shell``: connect to a server, and run the shell."""
    parser = _parser(main.__doc__)
    parser.add_argument(
        "-N",
        "--skip-negotiation",
        action="store_true",
        help="expect no greeting, and negotiate nothing: for a guest agent",
    )
    default = os.environ.get("QMP_SOCKET")
    parser.add_argument(
        "qmp_server",
        nargs="?",
        default=default,
        help="the socket's path, or HOST:PORT (default: $QMP_SOCKET)",
    )
    args = parser.parse_args()
    if args.qmp_server is None:
        parser.error("name the server, or set QMP_SOCKET")
    try:
        address = QEMUMonitorProtocol.parse_address(args.qmp_server)
        shell = _shell(args, address, server=False)
    except QMPError as err:
        _die(str(err))
    with shell:
        try:
            shell.connect(negotiate=not args.skip_negotiation)
        except ConnectError as err:
            _die(f"Couldn't connect to {args.qmp_server}: {err}")
        _run(shell)


def main_wrap() -> None:
    """``qmp-shell-wrap``: start QEMU, and run the shell on its monitor."""
    parser = _parser(main_wrap.__doc__)
    parser.add_argument(
        "command",
        nargs=argparse.REMAINDER,
        help="QEMU and its arguments (default: qemu-system-x86_64)",
    )
    args = parser.parse_args()
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    command = command or ["qemu-system-x86_64"]
    path = f"qmp-shell-wrap-{os.getpid()}"
    with contextlib.ExitStack() as stack:
        try:
            shell = stack.enter_context(_shell(args, path, server=True))
        except QMPError as err:
            _die(str(err))
        stack.callback(_remove, path)
        try:
            qemu = stack.enter_context(WrappedQemu(command, path))
        except OSError as err:
            _die(f"Couldn't launch {command[0]}: {err}")
        try:
            shell.connect()
        except ConnectError as err:
            code = qemu.wait(_PATIENCE)
            reason = str(err) if code is None else f"it exited with status {code}"
            _die(f"Couldn't connect to {command[0]}: {reason}")
        _run(shell)
        shell.close()
        if shell.has_quit:
            qemu.wait(_PATIENCE)


def _parser(description: Optional[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("-H", "--hmp", action="store_true", help="use the human monitor")
    parser.add_argument("-v", "--verbose", action="store_true", help="print what is sent")
    parser.add_argument("-p", "--pretty", action="store_true", help="print indented JSON")
    parser.add_argument("-l", "--logfile", help="append commands and replies to this file")
    return parser


def _shell(args: argparse.Namespace, address: SocketAddrT, server: bool) -> QMPShell:
    kind = HMPShell if args.hmp else QMPShell
    return kind(address, args.pretty, args.verbose, server, args.logfile)


def _run(shell: QMPShell) -> None:
    shell.show_banner()
    try:
        for _ in shell.repl():
            pass
    except KeyboardInterrupt:
        print()
        sys.exit(130)
    except ExecInterruptedError:
        _die("QEMU has closed the connection")
    except QMPError as err:
        _die(str(err))


def _die(reason: str) -> NoReturn:
    sys.stdout.flush()
    print(f"ERROR: {reason}", file=sys.stderr)
    sys.exit(1)


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


_USAGE = "command format: <command-name> [arg-name1=arg1] ... [arg-nameN=argN]\n"
#: QEMU closes its monitor shortly before it exits.
_PATIENCE = 5.0

if __name__ == "__main__":
    main()
