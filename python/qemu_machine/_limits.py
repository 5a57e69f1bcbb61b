"""Time limits: seconds, ``None`` for no limit, or the machine's default."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._native import Default

if TYPE_CHECKING:
    from typing import Union

    from typing_extensions import TypeAlias

    Limit: TypeAlias = Union[float, None, Default]

#: The default limit of the machine, which is 30 s if ``Machine(timeout=…)`` does
#: not say otherwise.
DEFAULT: Default = Default()
