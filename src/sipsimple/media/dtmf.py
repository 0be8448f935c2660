"""Digits as telephone-events in RTP (RFC 4733): what a sender sends for each press, what a receiver makes of packets.

Both are machines without a clock. The sender is asked once per frame of 20 ms, and answers with a packet, or that the
frame belongs to the audio. All packets of a press carry the timestamp of its beginning, which is how the receiver
tells presses apart, whichever of their packets were lost. Header fields are left to the RTP sender.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass
from typing import Final

from .errors import StreamError
from .stream import FRAMES_PER_SECOND

DIGITS: Final = "0123456789*#ABCD"
"""In the order of their event codes (RFC 4733 3.2)."""
VOLUME: Final = 10
"""Power level in dBm0, the sign left out."""
DIGIT_FRAMES: Final = 10
"""A press lasts 200 ms; ITU-T Q.24 wants 40 at least."""
END_PACKETS: Final = 3
"""RFC 4733 2.5.1.4: the end is said three times, because it is what must not be lost."""
PAUSE_FRAMES: Final = 1
"""Audio between two presses, on top of the packets that repeat the end."""
CYCLE_FRAMES: Final = DIGIT_FRAMES + END_PACKETS - 1 + PAUSE_FRAMES
DIGIT_SECONDS: Final = CYCLE_FRAMES / FRAMES_PER_SECOND
"""From the beginning of one press to that of the next."""
MAX_QUEUED_DIGITS: Final = 32

MAX_AGE: Final = 5.0
"""Seconds by which a packet may lie behind the newest press and still be a late one; beyond, it is a new beginning."""

_PAYLOAD: Final = struct.Struct("!BBH")
_END: Final = 0x80
_TIMESTAMPS: Final = 1 << 32
_LONGEST: Final = 0xFFFF


class MalformedEvent(ValueError):
    """The payload is no telephone-event."""


@dataclass(frozen=True, slots=True)
class TelephoneEvent:
    """The payload of a telephone-event packet (RFC 4733 2.3); the duration is in units of the event's clock."""

    code: int
    end: bool
    duration: int
    volume: int = VOLUME

    @classmethod
    def parse(cls, data: bytes) -> TelephoneEvent:
        """Read the payload; raises `MalformedEvent` when it is too short. The reserved bit does not matter."""
        if len(data) < _PAYLOAD.size:
            raise MalformedEvent(f"{len(data)} octets are too few for a telephone-event")
        code, flags, duration = _PAYLOAD.unpack_from(data)
        return cls(code, bool(flags & _END), duration, flags & 0x3F)

    def __bytes__(self) -> bytes:
        return _PAYLOAD.pack(self.code, self.volume | (_END if self.end else 0), self.duration)

    @property
    def digit(self) -> str | None:
        """The key that was pressed; None for an event that is no key."""
        return DIGITS[self.code] if self.code < len(DIGITS) else None


@dataclass(frozen=True, slots=True)
class EventFrame:
    """What to send instead of a frame of audio."""

    marker: bool
    age: int
    """Frames since the press began: its timestamp lies this much before the one of the frame."""
    payload: bytes


class DigitSender:
    """The digits of one stream that wait to be sent."""

    def __init__(self, clock_rate: int) -> None:
        """`clock_rate` is the one that was agreed for the events, in Hz."""
        self._step: Final = clock_rate // FRAMES_PER_SECOND
        self._queue: Final[deque[str]] = deque()
        self._frame = 0

    @property
    def busy(self) -> bool:
        """Whether there is anything to send, now or later."""
        return bool(self._queue)

    def press(self, digit: str) -> None:
        """Queue a digit; raises `StreamError` for what is no digit, and when `MAX_QUEUED_DIGITS` wait."""
        if len(digit) != 1 or digit not in DIGITS:
            raise StreamError(f"{digit!r} is no DTMF digit: use one of {' '.join(DIGITS)}")
        if len(self._queue) >= MAX_QUEUED_DIGITS:
            raise StreamError(f"{MAX_QUEUED_DIGITS} digits wait to be sent: wait for {DIGIT_SECONDS:g} s for each")
        self._queue.append(digit)

    def next_frame(self) -> EventFrame | None:
        """Tell what to send in the next 20 ms; None leaves them to the audio."""
        if not self._queue:
            return None
        age = self._frame
        self._frame += 1
        if self._frame > CYCLE_FRAMES - PAUSE_FRAMES:
            if self._frame == CYCLE_FRAMES:
                self._queue.popleft()
                self._frame = 0
            return None
        frames = min(age + 1, DIGIT_FRAMES)
        event = TelephoneEvent(DIGITS.index(self._queue[0]), frames == DIGIT_FRAMES, frames * self._step)
        return EventFrame(age == 0, age, bytes(event))


class DigitReceiver:
    """The presses of one remote, each told once, by the first of its packets that arrives."""

    def __init__(self, clock_rate: int) -> None:
        """`clock_rate` is the one of the RTP timestamps, in Hz."""
        self.clock_rate: Final = clock_rate
        self._max_age: Final = int(MAX_AGE * clock_rate)
        self._last: tuple[int, TelephoneEvent] | None = None

    def restart(self) -> None:
        """Forget the timestamps: they come from another source now."""
        self._last = None

    def receive(self, timestamp: int, event: TelephoneEvent) -> str | None:
        """Take in a packet; returns the digit when this is the first one of a press."""
        if self._last is not None:
            began, last = self._last
            if 0 < (began - timestamp) % _TIMESTAMPS < self._max_age:
                return None
            if timestamp == began and event.code == last.code:
                self._last = began, max(last, event, key=lambda it: it.duration)
                return None
            if self._continues(timestamp, event):
                self._last = timestamp, event
                return None
        self._last = timestamp, event
        return event.digit

    def _continues(self, timestamp: int, event: TelephoneEvent) -> bool:
        """RFC 4733 2.5.1.3: a key held for longer than the duration can tell is sent in segments without a gap."""
        if self._last is None:
            return False
        began, last = self._last
        follows = (timestamp - began) % _TIMESTAMPS == _LONGEST
        return follows and event.code == last.code and not last.end
