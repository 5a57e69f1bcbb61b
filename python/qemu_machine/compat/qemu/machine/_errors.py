"""What goes wrong with a machine."""

from __future__ import annotations

from typing import Optional


class QEMUMachineError(Exception):
    """A machine cannot do what it was asked."""

    __module__ = "qemu.machine.machine"


class QEMUMachineAddDeviceError(QEMUMachineError):
    """Nothing raises it. Programs import the name."""

    __module__ = "qemu.machine.machine"


class VMLaunchFailure(QEMUMachineError):
    """A launch failed. Its cause is ``__cause__``."""

    __module__ = "qemu.machine.machine"

    def __init__(self, exitcode: Optional[int], command: str, output: Optional[str]) -> None:
        super().__init__(exitcode, command, output)
        #: The exit code. None if QEMU never started.
        self.exitcode = exitcode
        #: The command line, joined by blanks.
        self.command = command
        #: What QEMU printed.
        self.output = output

    def __str__(self) -> str:
        lines = [_summary(self.__cause__)]
        if self.exitcode is not None:
            lines.append(f"\tExit code: {self.exitcode}")
        lines += [f"\tCommand: {self.command}", f"\tOutput: {self.output}"]
        return "".join(line + "\n" for line in lines)


class AbnormalShutdown(QEMUMachineError):
    """QEMU did not end as asked, or it ended before it was asked."""

    __module__ = "qemu.machine.machine"


def _summary(cause: Optional[BaseException]) -> str:
    if cause is None:
        return ""
    name, text = type(cause).__name__, str(cause)
    return f"{name}: {text}" if text else name
