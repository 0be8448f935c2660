"""What can go wrong in the media engine, as one tree of exceptions.

Every exception carries its facts as attributes and makes its text from them; all of them survive pickling, because the
engine may live in another process than the one that reads the error.

MediaError
├── EngineStopped            nothing runs that could obey the command
├── CommandError             the command does not fit the state of the engine
│   ├── UnknownObject        the mixer, bridge, stream, ... was never made or is gone
│   └── SlotError            the slot is taken, unused or out of range
├── DeviceError              a sound device cannot be used
│   └── DeviceNotFound
├── WaveError                a file cannot be played or recorded
│   ├── WaveFileUnreadable   the file cannot be opened or read
│   ├── WaveFormatError      the file is not a WAV file, or one that cannot be decoded
│   └── RecordingError       the file cannot be written
└── StreamError              RTP cannot be sent or received
    ├── PortsExhausted       no free pair of ports in the range
    ├── CodecUnavailable     the codec is unknown, or its library is not installed
    └── ConnectivityFailed   ICE found no way to the remote, or a server for it does not answer
"""

from __future__ import annotations


class MediaError(Exception):
    """The root of everything that the media engine raises or replies."""


class EngineStopped(MediaError):
    """The engine does not run, or died while the command was under way."""

    def __init__(self, reason: str = "it was not started, or was stopped") -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the media engine does not run: {self.reason}"


class CommandError(MediaError):
    """The command does not fit the state of the engine."""


class UnknownObject(CommandError):
    """A command names an object that was never made, or is gone."""

    def __init__(self, kind: str, id: int) -> None:
        super().__init__(kind, id)
        self.kind = kind
        self.id = id

    def __str__(self) -> str:
        return f"there is no {self.kind} {self.id}: it was never made, or was removed"


class SlotError(CommandError):
    """A command names a slot that is taken, unused or out of range."""

    def __init__(self, mixer: int, slot: int, reason: str) -> None:
        super().__init__(mixer, slot, reason)
        self.mixer = mixer
        self.slot = slot
        self.reason = reason

    def __str__(self) -> str:
        return f"slot {self.slot} of mixer {self.mixer} {self.reason}"


class DeviceError(MediaError):
    """A sound device cannot be opened or used; `name` is the name that was asked for."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"sound device {self.name!r} cannot be used: {self.reason}"


class DeviceNotFound(DeviceError):
    """No sound device has this name."""

    def __init__(self, name: str, available: tuple[str, ...] = ()) -> None:
        known = ", ".join(repr(other) for other in available) or "none"
        super().__init__(name, f"there is no such device; available: {known}")
        self.args = (name, available)
        self.available = available


class WaveError(MediaError):
    """A sound file cannot be played or recorded."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class WaveFileUnreadable(WaveError):
    """The file cannot be opened or read; `reason` is the system's."""


class WaveFormatError(WaveError):
    """The file is not a WAV file, is damaged, or holds an encoding that is not decoded here."""


class RecordingError(WaveError):
    """The file cannot be written; `reason` is the system's."""


class StreamError(MediaError):
    """RTP cannot be sent or received as asked."""


class PortsExhausted(StreamError):
    """No pair of free ports is left in the range."""

    def __init__(self, address: str, first: int, last: int) -> None:
        super().__init__(address, first, last)
        self.address = address
        self.first = first
        self.last = last

    def __str__(self) -> str:
        return f"every RTP port from {self.first} to {self.last} of {self.address} is in use: enlarge the port range"


class CodecUnavailable(StreamError):
    """The codec is unknown, or the library that it needs is not installed."""

    def __init__(self, codec: str, reason: str) -> None:
        super().__init__(codec, reason)
        self.codec = codec
        self.reason = reason

    def __str__(self) -> str:
        return f"codec {self.codec!r} is not available: {self.reason}"


class ConnectivityFailed(StreamError):
    """ICE found no way to the remote, or a server that it needs does not answer."""
