"""The keyboard and the mouse of a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from ._limits import DEFAULT

if TYPE_CHECKING:
    from typing import Coroutine

    from typing_extensions import Literal

    from . import _native
    from ._limits import Limit

    Layout = Literal["us", "german", "french"]
    Button = Literal["left", "middle", "right", "wheel-up", "wheel-down"]


class Keyboard:
    """The keyboard, for firmware, boot menus and screens. For a guest with a console,
    ``vm.console`` is faster."""

    def __init__(self, native: _native.Input) -> None:
        self._native = native

    def type(
        self,
        text: str,
        *,
        layout: Layout = "us",
        pace: Optional[float] = None,
        timeout: Limit = DEFAULT,
    ) -> None:
        """Types a text, one key every 20 ms or every ``pace`` seconds. The guest must be
        set to the same ``layout``."""
        self._native.type_text(text, layout, pace, timeout).wait()

    def press(
        self, chord: str, *, hold: Optional[float] = None, timeout: Limit = DEFAULT
    ) -> None:
        """Presses keys together, by QEMU's names, such as ``ctrl-alt-delete``. They are
        held for 0.1 s, or for ``hold`` seconds."""
        self._native.press(chord, hold, timeout).wait()


class Mouse:
    """The mouse. To move to a place, the machine needs a tablet, such as
    ``usb-tablet``."""

    def __init__(self, native: _native.Input) -> None:
        self._native = native

    def move_to(self, x: float, y: float, *, timeout: Limit = DEFAULT) -> None:
        """Moves to a place of the screen: 0 is the left or upper border, 1 the other."""
        self._native.move_to(x, y, timeout).wait()

    def move_by(self, x: int, y: int, *, timeout: Limit = DEFAULT) -> None:
        """Moves to the right and downwards, in steps of the mouse."""
        self._native.move_by(x, y, timeout).wait()

    def click(
        self,
        button: Button = "left",
        *,
        hold: Optional[float] = None,
        timeout: Limit = DEFAULT,
    ) -> None:
        """Presses a button, and releases it 20 ms or ``hold`` seconds later."""
        self._native.click(button, hold, timeout).wait()


class AsyncKeyboard:
    """:class:`Keyboard` for coroutines."""

    def __init__(self, native: _native.Input) -> None:
        self._native = native

    def type(
        self,
        text: str,
        *,
        layout: Layout = "us",
        pace: Optional[float] = None,
        timeout: Limit = DEFAULT,
    ) -> Coroutine[Any, Any, None]:
        """Types a text."""
        return self._native.type_text(text, layout, pace, timeout)

    def press(
        self, chord: str, *, hold: Optional[float] = None, timeout: Limit = DEFAULT
    ) -> Coroutine[Any, Any, None]:
        """Presses keys together, by QEMU's names, such as ``ctrl-alt-delete``."""
        return self._native.press(chord, hold, timeout)


class AsyncMouse:
    """:class:`Mouse` for coroutines."""

    def __init__(self, native: _native.Input) -> None:
        self._native = native

    def move_to(self, x: float, y: float, *, timeout: Limit = DEFAULT) -> Coroutine[Any, Any, None]:
        """Moves to a place of the screen."""
        return self._native.move_to(x, y, timeout)

    def move_by(self, x: int, y: int, *, timeout: Limit = DEFAULT) -> Coroutine[Any, Any, None]:
        """Moves to the right and downwards, in steps of the mouse."""
        return self._native.move_by(x, y, timeout)

    def click(
        self,
        button: Button = "left",
        *,
        hold: Optional[float] = None,
        timeout: Limit = DEFAULT,
    ) -> Coroutine[Any, Any, None]:
        """Presses a button, and releases it."""
        return self._native.click(button, hold, timeout)
