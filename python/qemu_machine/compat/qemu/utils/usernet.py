"""What the monitor says about user-mode networks."""

from __future__ import annotations

import re
from typing import Optional

# The columns: protocol, descriptor, source, its port, target, its port, queues.
_FORWARD = re.compile(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s+10\.")


def get_info_usernet_hostfwd_port(info_usernet_output: str) -> Optional[int]:
    """Return the host's port of a forward from 127.0.0.1 to the guest, or None.

    :param info_usernet_output: The output of ``info usernet``.
    """
    for line in info_usernet_output.split("\r\n"):
        found = _FORWARD.search(line)
        if found:
            return int(found[1])
    return None
