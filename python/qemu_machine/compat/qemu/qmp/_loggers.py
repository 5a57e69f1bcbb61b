"""The loggers of connections."""

from __future__ import annotations

import logging
from typing import Optional

#: The parent of all loggers of connections.
PROTOCOL_LOGGER = logging.getLogger("qemu.qmp.protocol")


def child_logger(parent: logging.Logger, name: Optional[str]) -> logging.Logger:
    """Return the logger of the connection of this name."""
    logger = parent.getChild(name) if name else parent
    logger.addFilter(_is_wanted)
    return logger


def _is_wanted(record: logging.LogRecord) -> bool:
    """Drop what a program does not want that silences an older logger.

    Older releases used the logger ``qemu.qmp.qmp_client``.
    """
    return record.levelno >= _OLDER.level


_OLDER = logging.getLogger("qemu.qmp.qmp_client")
