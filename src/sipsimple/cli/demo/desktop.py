"""The desktop that the demonstration shares: a picture, a server that shows it, and a viewer (RFB 3.8, RFC 6143).

Both ends take the octets that arrived and return those to send. They speak just what the two of them need: no
password, 32-bit pixels as they are, one picture.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
"""Rows, columns, and red, green, blue."""

WIDTH: Final = 480
HEIGHT: Final = 270
VERSION: Final = b"RFB 003.008\n"
NO_PASSWORD: Final = 1
RAW: Final = 0
UPDATE_REQUEST: Final = 3
MAX_PIXELS: Final = 1 << 22
MAX_NAME: Final = 256
# 32 bits a pixel, depth 24, big endian, true colour, 8 bits for each colour: red, green, blue from the top.
_PIXELS: Final = struct.pack("!BBBBHHHBBB3x", 32, 24, 1, 1, 255, 255, 255, 16, 8, 0)
_CLIENT_MESSAGES: Final = {0: 20, 4: 8, 5: 6, UPDATE_REQUEST: 10}
"""The lengths of the messages of a viewer, but for SetEncodings and ClientCutText, which ours does not send."""

_FONT: Final = {
    "s": "01110 10000 01100 00010 11100", "i": "00100 00000 00100 00100 00100", "p": "11100 10010 11100 10000 10000",
    "m": "11010 10101 10101 10101 10101", "l": "00100 00100 00100 00100 00010", "e": "01100 10010 11110 10000 01110",
}  # fmt: skip


class NotRFB(Exception):
    """The other end does not speak as it has to."""


def desktop() -> Picture:
    """A desktop with a window on it."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    picture: Picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    picture[..., 0] = 20 + 40 * rows // HEIGHT
    picture[..., 1] = 40 + 60 * columns // WIDTH
    picture[..., 2] = 90 + 80 * rows // HEIGHT
    picture[60:214, 86:398] = (12, 18, 34)  # a shadow
    picture[52:204, 78:390] = (244, 245, 248)
    picture[52:76, 78:390] = (52, 62, 90)
    for index, colour in enumerate(((236, 95, 86), (244, 190, 79), (98, 197, 84))):
        picture[60:68, 88 + 14 * index : 96 + 14 * index] = colour
    scale, left = 6, 96
    for letter in "sipsimple":
        _draw(picture, letter, left, 110, scale)
        left += 5 * scale + 1
    return picture


def _draw(picture: Picture, letter: str, left: int, top: int, scale: int) -> None:
    for row, bits in enumerate(_FONT[letter].split()):
        for column, bit in enumerate(bits):
            if bit == "1":
                y, x = top + row * scale, left + column * scale
                picture[y : y + scale, x : x + scale] = (52, 92, 168)


class Server:
    """Shows one picture to one viewer."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._data = b""
        self._step = "version"

    def greeting(self) -> bytes:
        """What is sent first."""
        return VERSION

    def feed(self, data: bytes) -> bytes:
        """Take octets of the viewer and return the answer. Raises NotRFB."""
        self._data += data
        answer = b""
        while (message := self._take()) is not None:
            answer += self._answer(message)
        return answer

    def _take(self) -> bytes | None:
        """The next whole message, or None."""
        if self._step == "running":
            if not self._data:
                return None
            if self._data[0] not in _CLIENT_MESSAGES:
                raise NotRFB(f"the viewer sent a message of type {self._data[0]}")
            length = _CLIENT_MESSAGES[self._data[0]]
        else:
            length = len(VERSION) if self._step == "version" else 1
        if len(self._data) < length:
            return None
        message, self._data = self._data[:length], self._data[length:]
        return message

    def _answer(self, message: bytes) -> bytes:
        match self._step:
            case "version":
                if not message.startswith(b"RFB "):
                    raise NotRFB(f"the viewer began with {message!r}")
                self._step = "security"
                return bytes((1, NO_PASSWORD))
            case "security":
                self._step = "init"
                return struct.pack("!I", 0)
            case "init":
                self._step = "running"
                height, width, _ = self._picture.shape
                name = b"the desktop of the demonstration"
                return struct.pack("!HH", width, height) + _PIXELS + struct.pack("!I", len(name)) + name
        return self._update() if message[0] == UPDATE_REQUEST else b""

    def _update(self) -> bytes:
        height, width, _ = self._picture.shape
        pixels = np.zeros((height, width, 4), np.uint8)
        pixels[..., 1:] = self._picture
        return struct.pack("!BxHHHHHi", 0, 1, 0, 0, width, height, RAW) + pixels.tobytes()


class Viewer:
    """Asks for the whole picture once; `picture` is None until it has come."""

    def __init__(self) -> None:
        self.picture: Picture | None = None
        self._data = b""
        self._step = "version"
        self._size = (0, 0)

    def feed(self, data: bytes) -> bytes:
        """Take octets of the server and return the answer. Raises NotRFB."""
        self._data += data
        answer = b""
        while (more := self._advance()) is not None:
            answer += more
        return answer

    def _take(self, length: int) -> bytes | None:
        if len(self._data) < length:
            return None
        part, self._data = self._data[:length], self._data[length:]
        return part

    def _advance(self) -> bytes | None:
        """Take one step, and return what it answers; None when more octets are needed."""
        match self._step:
            case "version":
                version = self._take(len(VERSION))
                if version is not None and not version.startswith(b"RFB "):
                    raise NotRFB(f"the server began with {version!r}")
                return self._next("security", version, VERSION)
            case "security":
                if not self._data or len(self._data) < 1 + self._data[0]:
                    return None
                offered = self._take(1 + self._data[0]) or b""
                if NO_PASSWORD not in offered[1:]:
                    raise NotRFB("the server wants a password")
                return self._next("result", offered, bytes((NO_PASSWORD,)))
            case "result":
                return self._next("init", self._take(4), b"\x01")
            case "init":
                return self._begin()
            case "running":
                return self._draw()
        return None

    def _next(self, step: str, part: bytes | None, answer: bytes) -> bytes | None:
        if part is None:
            return None
        self._step = step
        return answer

    def _begin(self) -> bytes | None:
        if len(self._data) < 24:
            return None
        width, height = struct.unpack("!HH", self._data[:4])
        (name,) = struct.unpack("!I", self._data[20:24])
        if not 0 < width * height <= MAX_PIXELS or name > MAX_NAME or self._data[4:20] != _PIXELS:
            raise NotRFB("the server has no desktop that this viewer can show")
        self._size = (width, height)
        request = struct.pack("!BBHHHH", UPDATE_REQUEST, 0, 0, 0, width, height)
        return self._next("running", self._take(24 + name), request)

    def _draw(self) -> bytes | None:
        width, height = self._size
        update = self._take(16 + 4 * width * height)
        if update is None:
            return None
        if struct.unpack("!BxHHHHHi", update[:16]) != (0, 1, 0, 0, width, height, RAW):
            raise NotRFB("the server sent no whole picture")
        pixels = np.frombuffer(update, np.uint8, offset=16).reshape(height, width, 4)
        self.picture = pixels[..., 1:].copy()
        self._step = "done"
        return None


def png(picture: Picture) -> bytes:
    """The picture as a PNG file."""
    height, width, _ = picture.shape
    rows = b"".join(b"\x00" + row.tobytes() for row in picture)
    header = struct.pack("!IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data)) for kind, data in chunks
    )
