"""The display of a machine: pictures of it, and waits for what it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Tuple, Union

from . import _native
from ._limits import DEFAULT

if TYPE_CHECKING:
    import os
    from typing import Coroutine

    from ._limits import Limit
    from ._monitor import AsyncQmp, Qmp

    Path = Union[str, os.PathLike[str]]


class Tolerance(NamedTuple):
    """How much two pictures may differ and still match. Pictures of different sizes
    never match."""

    #: How far each of red, green and blue may differ, of 255. A larger difference
    #: makes the pixel count as different.
    channel: int = 0
    #: The share of all pixels that may be different: 0.01 is one in a hundred.
    share: float = 0.0


class Screenshot:
    """A picture of a display."""

    __slots__ = ("width", "height", "rgb")

    #: The width in pixels.
    width: int
    #: The height in pixels.
    height: int
    #: Three bytes for each pixel, row by row.
    rgb: bytes

    def __init__(self, width: int, height: int, rgb: bytes) -> None:
        if len(rgb) != 3 * width * height or not rgb:
            raise ValueError("the number of pixels does not match the size")
        self.width = width
        self.height = height
        self.rgb = rgb

    @classmethod
    def open(cls, path: Path) -> Screenshot:
        """Reads a PNG file."""
        with open(path, "rb") as file:
            return cls.from_png(file.read())

    @classmethod
    def from_png(cls, png: bytes) -> Screenshot:
        """The picture in a PNG file with this content."""
        return _native.from_png(png)

    @property
    def png(self) -> bytes:
        """The picture as a PNG file."""
        return _native.to_png(self)

    @property
    def ppm(self) -> bytes:
        """The picture as a PPM file, which many programs read."""
        return b"P6\n%d %d\n255\n%b" % (self.width, self.height, self.rgb)

    def save(self, path: Path) -> None:
        """Writes a PNG file."""
        with open(path, "wb") as file:
            file.write(self.png)

    def pixel(self, x: int, y: int) -> Tuple[int, int, int]:
        """The red, green and blue of a pixel."""
        if not (0 <= x < self.width and 0 <= y < self.height):
            raise IndexError(f"({x}, {y}) is outside of {self.width}x{self.height} pixels")
        start = 3 * (y * self.width + x)
        red, green, blue = self.rgb[start : start + 3]
        return red, green, blue

    def difference(self, other: Screenshot, channel: int = 0) -> float:
        """The share of pixels that differ from another picture, from 0 to 1.

        A pixel differs if red, green or blue differs by more than ``channel`` of 255.
        For pictures of different sizes the result is 1.
        """
        return _native.difference(self, other, channel)

    def matches(self, other: Screenshot, tolerance: Tolerance = Tolerance()) -> bool:
        """Whether another picture is the same, within this tolerance."""
        if (self.width, self.height) != (other.width, other.height):
            return False
        return self.difference(other, tolerance.channel) <= tolerance.share

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Screenshot):
            return NotImplemented
        mine = (self.width, self.height, self.rgb)
        return mine == (other.width, other.height, other.rgb)

    def __hash__(self) -> int:
        return hash((self.width, self.height, self.rgb))

    def __repr__(self) -> str:
        return f"<Screenshot {self.width}x{self.height}>"


class Display:
    """A display of a machine. QEMU has no event for a change of it, so the waits take
    pictures: one in ``pace`` seconds, or in 0.1 s."""

    def __init__(self, native: _native.Display) -> None:
        self._native = native

    @classmethod
    def of(cls, qmp: Union[Qmp, AsyncQmp]) -> Display:
        """The display of a QEMU that someone else started."""
        return cls(_native.Display.of(qmp._native))

    @property
    def aio(self) -> AsyncDisplay:
        """The same display, for coroutines."""
        return AsyncDisplay(self._native)

    def head(self, device: str, head: int = 0) -> Display:
        """The display of one head of the device with this id, for a machine with
        several displays."""
        return Display(self._native.head(device, head))

    def screenshot(self, *, timeout: Limit = DEFAULT) -> Screenshot:
        """Takes a picture."""
        return self._native.screenshot(timeout).wait()

    def expect(
        self,
        picture: Screenshot,
        *,
        tolerance: Optional[Tolerance] = None,
        pace: Optional[float] = None,
        timeout: Limit = DEFAULT,
    ) -> Screenshot:
        """Waits until it looks like ``picture``, to the pixel unless a tolerance is
        given. Returns the picture that matched."""
        return self._native.expect(picture, tolerance, pace, timeout).wait()

    def still(
        self,
        seconds: float,
        *,
        tolerance: Optional[Tolerance] = None,
        pace: Optional[float] = None,
        timeout: Limit = DEFAULT,
    ) -> Screenshot:
        """Waits until it has not changed for this time. Returns the last picture.

        One pixel in a thousand may change, unless another tolerance is given. That is
        enough for the blinking cursor of a text screen.
        """
        return self._native.still(seconds, tolerance, pace, timeout).wait()

    def change(
        self,
        *,
        tolerance: Optional[Tolerance] = None,
        pace: Optional[float] = None,
        timeout: Limit = DEFAULT,
    ) -> Screenshot:
        """Waits until it differs from its first picture: by one pixel in a thousand,
        unless another tolerance is given. Returns the picture that differs."""
        return self._native.change(tolerance, pace, timeout).wait()


class AsyncDisplay:
    """:class:`Display` for coroutines."""

    def __init__(self, native: _native.Display) -> None:
        self._native = native

    def head(self, device: str, head: int = 0) -> AsyncDisplay:
        """The display of one head of the device with this id."""
        return AsyncDisplay(self._native.head(device, head))

    def screenshot(self, *, timeout: Limit = DEFAULT) -> Coroutine[Any, Any, Screenshot]:
        """Takes a picture."""
        return self._native.screenshot(timeout)

    def expect(
        self,
        picture: Screenshot,
        *,
        tolerance: Optional[Tolerance] = None,
        pace: Optional[float] = None,
        timeout: Limit = DEFAULT,
    ) -> Coroutine[Any, Any, Screenshot]:
        """Waits until it looks like ``picture``."""
        return self._native.expect(picture, tolerance, pace, timeout)

    def still(
        self,
        seconds: float,
        *,
        tolerance: Optional[Tolerance] = None,
        pace: Optional[float] = None,
        timeout: Limit = DEFAULT,
    ) -> Coroutine[Any, Any, Screenshot]:
        """Waits until it has not changed for this time."""
        return self._native.still(seconds, tolerance, pace, timeout)

    def change(
        self,
        *,
        tolerance: Optional[Tolerance] = None,
        pace: Optional[float] = None,
        timeout: Limit = DEFAULT,
    ) -> Coroutine[Any, Any, Screenshot]:
        """Waits until it differs from its first picture."""
        return self._native.change(tolerance, pace, timeout)
