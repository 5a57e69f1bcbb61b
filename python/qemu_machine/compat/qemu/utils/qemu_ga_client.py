"""``qemu-ga-client``: talk to the agent in a guest."""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import random
import sys
from typing import Any, Callable, Dict, List, Optional, Sequence

from qemu.qmp import ConnectError, ExecInterruptedError, QMPError, SocketAddrT
from qemu.qmp.legacy import QEMUMonitorProtocol


class QemuGuestAgent(QEMUMonitorProtocol):
    """The agent's commands as methods: ``agent.file_open(path="/etc/hosts")``."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def command(**arguments: object) -> object:
            return self.cmd("guest-" + name.replace("_", "-"), **arguments)

        return command


class QemuGuestAgentClient:
    """What a user wants of an agent.

    :raise ConnectError: Nothing listens at the address.
    """

    def __init__(self, address: SocketAddrT) -> None:
        self.qga = QemuGuestAgent(address)
        self.qga.connect(negotiate=False)

    def sync(self, timeout: Optional[float] = 3) -> None:
        """Make sure that the agent answers.

        :raise asyncio.TimeoutError: It did not within so many seconds.
        :raise QMPError: It answered something else.
        """
        if not self._ping_with_number(timeout):
            raise QMPError("the agent has lost step: it answers another command")

    def read(self, path: str) -> bytes:
        """Return the content of a file in the guest."""
        handle = self.qga.file_open(path=path)
        try:
            parts: List[bytes] = []
            while True:
                part = self.qga.file_read(handle=handle, count=_PART)
                parts.append(base64.b64decode(part["buf-b64"]))
                if part["eof"] or not part["count"]:
                    return b"".join(parts)
        finally:
            self.qga.file_close(handle=handle)

    def info(self) -> str:
        """Return the agent's version and commands as a text."""
        info = self.qga.info()
        lines = [f"version: {info['version']}", "supported_commands:"]
        for command in info["supported_commands"]:
            state = "enabled" if command["enabled"] else "disabled"
            lines.append(f"\t{command['name']} {state}")
        return "\n".join(lines)

    def ifconfig(self) -> str:
        """Return the network interfaces as a text."""
        lines = []
        for interface in self.qga.network_get_interfaces():
            lines.append(f"{interface['name']}:")
            for address in interface.get("ip-addresses", []):
                kind = {"ipv4": "inet", "ipv6": "inet6"}.get(
                    address["ip-address-type"], address["ip-address-type"]
                )
                lines.append(f"\t{kind} {address['ip-address']}/{address['prefix']}")
            if "hardware-address" in interface:
                lines.append(f"\tether {interface['hardware-address']}")
        return "\n".join(lines)

    def ping(self, timeout: Optional[float]) -> bool:
        """Return whether the agent answers within so many seconds."""
        self.qga.settimeout(timeout)
        try:
            self.qga.ping()
        except asyncio.TimeoutError:
            return False
        finally:
            self.qga.settimeout(None)
        return True

    def fsfreeze(self, cmd: str) -> object:
        """Freeze or thaw the file systems, or return their state."""
        if cmd not in ("status", "freeze", "thaw"):
            raise ValueError(f"Invalid command: {cmd}")
        return getattr(self.qga, "fsfreeze_" + cmd)()

    def fstrim(self, minimum: int) -> Dict[str, object]:
        """Discard unused blocks. Return what the agent reports."""
        report: Dict[str, object] = self.qga.fstrim(minimum=minimum)
        return report

    def suspend(self, mode: str) -> None:
        """Suspend the guest: to ``disk``, ``ram``, or ``hybrid``."""
        if mode not in ("disk", "ram", "hybrid"):
            raise ValueError(f"Invalid mode: {mode}")
        self._command_without_reply("suspend_" + mode)

    def shutdown(self, mode: str = "powerdown") -> None:
        """End the guest: ``powerdown``, ``halt``, or ``reboot``."""
        if mode not in ("powerdown", "halt", "reboot"):
            raise ValueError(f"Invalid mode: {mode}")
        self._command_without_reply("shutdown", mode=mode)

    def _ping_with_number(self, timeout: Optional[float]) -> bool:
        number = random.randrange(1 << 31)
        self.qga.settimeout(timeout)
        try:
            return bool(self.qga.sync(id=number) == number)
        finally:
            self.qga.settimeout(None)

    def _command_without_reply(self, name: str, **arguments: object) -> None:
        """Send a command that the agent answers only if it fails.

        QEMU may end with the guest, and the connection with it.
        """
        self.qga.settimeout(_NO_REPLY)
        try:
            getattr(self.qga, name)(**arguments)
        except (asyncio.TimeoutError, ExecInterruptedError):
            pass
        finally:
            self.qga.settimeout(None)


def _cat(client: QemuGuestAgentClient, args: Sequence[str]) -> None:
    _expect(args, 1, "PATH")
    data = client.read(args[0])
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _fsfreeze(client: QemuGuestAgentClient, args: Sequence[str]) -> None:
    words = ("status", "freeze", "thaw")
    if list(args[:1]) and args[0] not in words or len(args) != 1:
        raise _UsageError("status|freeze|thaw")
    result = client.fsfreeze(args[0])
    if args[0] == "status":
        print(result)
    elif args[0] == "freeze":
        print(f"{result} filesystems frozen")
    else:
        print(f"{result} filesystems thawed")


def _fstrim(client: QemuGuestAgentClient, args: Sequence[str]) -> None:
    if len(args) > 1 or not all(arg.isdecimal() for arg in args):
        raise _UsageError("[MINIMUM]")
    print(client.fstrim(int(args[0]) if args else 0))


def _ifconfig(client: QemuGuestAgentClient, args: Sequence[str]) -> None:
    _expect(args, 0)
    print(client.ifconfig())


def _info(client: QemuGuestAgentClient, args: Sequence[str]) -> None:
    _expect(args, 0)
    print(client.info())


def _ping(client: QemuGuestAgentClient, args: Sequence[str]) -> None:
    try:
        timeout = float(args[0]) if args else 3.0
    except ValueError:
        raise _UsageError("[SECONDS]") from None
    if not client.ping(timeout):
        print("timeout", file=sys.stderr)
        sys.exit(1)


def _suspend(client: QemuGuestAgentClient, args: Sequence[str]) -> None:
    if len(args) != 1 or args[0] not in ("disk", "ram", "hybrid"):
        raise _UsageError("disk|ram|hybrid")
    client.suspend(args[0])


def _end(mode: str) -> Callable[[QemuGuestAgentClient, Sequence[str]], None]:
    def end(client: QemuGuestAgentClient, args: Sequence[str]) -> None:
        _expect(args, 0)
        client.shutdown(mode)

    return end


class _UsageError(Exception):
    """The arguments of a command are wrong. The text says what is right."""


def _expect(args: Sequence[str], number: int, usage: str = "") -> None:
    if len(args) != number:
        raise _UsageError(usage or "no arguments")


COMMANDS: Dict[str, Callable[[QemuGuestAgentClient, Sequence[str]], None]] = {
    "cat": _cat,
    "fsfreeze": _fsfreeze,
    "fstrim": _fstrim,
    "halt": _end("halt"),
    "ifconfig": _ifconfig,
    "info": _info,
    "ping": _ping,
    "powerdown": _end("powerdown"),
    "reboot": _end("reboot"),
    "shutdown": _end("powerdown"),
    "suspend": _suspend,
}


def main() -> None:
    """Run the program."""
    default = os.environ.get("QGA_CLIENT_ADDRESS")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--address",
        default=default,
        help="the agent's socket: a path, or HOST:PORT (default: $QGA_CLIENT_ADDRESS)",
    )
    parser.add_argument("command", choices=sorted(COMMANDS))
    parser.add_argument("args", nargs="*", help="arguments of the command")
    args = parser.parse_args()
    if args.address is None:
        parser.error("name the agent's --address, or set QGA_CLIENT_ADDRESS")
    try:
        _run(args.address, args.command, args.args)
    except _UsageError as err:
        parser.error(f"{args.command} takes {err}")
    except asyncio.TimeoutError:
        sys.exit("ERROR: the agent does not answer")
    except QMPError as err:
        sys.exit(f"ERROR: {err}")


def _run(address: str, command: str, args: Sequence[str]) -> None:
    try:
        client = QemuGuestAgentClient(QemuGuestAgent.parse_address(address))
    except ConnectError as err:
        raise QMPError(f"Couldn't connect to {address}: {err}") from err
    with client.qga:
        if command != "ping":
            client.sync()
        COMMANDS[command](client, args)


#: A file is read in parts of so many bytes.
_PART = 64 * 1024
#: The agent has so many seconds to refuse a command that has no reply.
_NO_REPLY = 2.0

if __name__ == "__main__":
    main()
