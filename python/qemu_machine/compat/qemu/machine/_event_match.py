"""Which events fit a pattern."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def fits(value: Any, pattern: Any) -> bool:
    """Return whether a value fits a pattern.

    None fits everything, and so does an empty string, list or mapping. Each key of
    a mapping must be in the value, and its value must fit. All else must be equal.
    """
    if pattern is None or (isinstance(pattern, (str, list, Mapping)) and not pattern):
        return True
    if not isinstance(pattern, Mapping):
        return bool(value == pattern)
    if not isinstance(value, Mapping):
        return False
    return all(key in value and fits(value[key], pattern[key]) for key in pattern)
