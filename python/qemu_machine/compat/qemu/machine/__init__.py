"""QEMU processes: launch them, talk to them, and end them."""

from .machine import QEMUMachine
from .qtest import QEMUQtestMachine, QEMUQtestProtocol

__all__ = (
    "QEMUMachine",
    "QEMUQtestProtocol",
    "QEMUQtestMachine",
)
