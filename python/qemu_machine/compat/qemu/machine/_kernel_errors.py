"""Errors of the kernel, apart from those of a signal's handler.

A handler may raise anywhere, also a ``TimeoutError``, which is an ``OSError``. It
has no number, and must reach the caller.
"""

import contextlib
from typing import Iterator


@contextlib.contextmanager
def ignored() -> Iterator[None]:
    """Ignore the kernel's errors."""
    try:
        yield
    except OSError as err:
        if err.errno is None:
            raise
