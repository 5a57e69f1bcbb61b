"""Pictures of a display."""

from __future__ import annotations

from typing import TYPE_CHECKING, Tuple, Union

if TYPE_CHECKING:
    import os


class Screenshot:
    """A picture of a display."""

    __slots__ = ("width", "height", "rgb", "png")

    #: The width in pixels.
    width: int
    #: The height in pixels.
    height: int
    #: Three bytes for each pixel, row by row.
    rgb: bytes
    #: The picture as a PNG file.
    png: bytes

    def __init__(self, width: int, height: int, rgb: bytes, png: bytes) -> None:
        self.width = width
        self.height = height
        self.rgb = rgb
        self.png = png

    def pixel(self, x: int, y: int) -> Tuple[int, int, int]:
        """The red, green and blue of a pixel."""
        if not (0 <= x < self.width and 0 <= y < self.height):
            raise IndexError(f"({x}, {y}) is outside of {self.width}x{self.height} pixels")
        start = 3 * (y * self.width + x)
        red, green, blue = self.rgb[start : start + 3]
        return red, green, blue

    def save(self, path: Union[str, os.PathLike[str]]) -> None:
        """Writes a PNG file."""
        with open(path, "wb") as file:
            file.write(self.png)

    def __repr__(self) -> str:
        return f"<Screenshot {self.width}x{self.height}>"
