"""A failed command whose error shows its output."""

from __future__ import annotations

import shutil
import textwrap
from subprocess import CalledProcessError
from typing import Optional


def add_visual_margin(
    content: str = "",
    width: Optional[int] = None,
    name: Optional[str] = None,
    padding: int = 1,
    upper_left: str = "┏",
    lower_left: str = "┗",
    horizontal: str = "━",
    vertical: str = "┃",
) -> str:
    """Draw a line at the left of a text, above and below it.

    Long lines are wrapped.

    :param width: The width of all. The default is the terminal's.
    :param name: Stands in the line above.
    :param padding: The number of blanks between the left line and the text.
    """
    if width is None:
        width = shutil.get_terminal_size((80, 24)).columns
    left = vertical + " " * padding
    most = max(1, width - len(left))
    body = []
    for line in content.splitlines():
        wrapped = textwrap.wrap(line, most, replace_whitespace=False, drop_whitespace=False)
        body += [left + part for part in wrapped or [""]]
    title = f"{horizontal} {name} " if name else ""
    top = (upper_left + title).ljust(width, horizontal)
    bottom = lower_left.ljust(width, horizontal)
    return "\n".join([top, *body, bottom])


class VerboseProcessError(CalledProcessError):
    """A command failed. The text of the error has the command's output."""

    def summary(self) -> str:
        """Return the text of the error without the output."""
        return super().__str__()

    def __str__(self) -> str:
        width = shutil.get_terminal_size((80, 24)).columns - len(_INDENT)
        parts = []
        for name, text in (("output", self.stdout), ("stderr", self.stderr)):
            if text:
                if isinstance(text, bytes):
                    text = text.decode(errors="backslashreplace")
                parts.append(add_visual_margin(text, width, name))
        framed = "\n".join(parts) or add_visual_margin("[no output]", width, "output")
        return f"{self.summary()}\n{textwrap.indent(framed, _INDENT)}"


_INDENT = "  "
