"""A provisional response that is repeated until its PRACK comes (RFC 3262 3), and what the headers of both say."""

from __future__ import annotations

from math import inf
from typing import Any, Final, Protocol

from sipsimple.sip.errors import MalformedMessage
from sipsimple.sip.lexer import parse_integer
from sipsimple.sip.message import Message, Request, Response
from sipsimple.sip.timers import RFC_TIMING, Alarm, Timing
from sipsimple.sip.transaction.base import NOBODY

__all__ = ["OPTION_TAG", "ReliableProvisional", "has_option", "rack_of", "rseq_of"]

OPTION_TAG: Final = "100rel"
MAX_RSEQ: Final = 2**32 - 1


def has_option(message: Message, header: str, tag: str) -> bool:
    """True when a Supported or Require header names this option."""
    return any(
        option.strip().lower() == tag for value in message.headers.get_all(header) for option in value.split(",")
    )


def rseq_of(response: Response) -> int | None:
    """The number of a reliable provisional response; None when it is not reliable, or its number unreadable."""
    value = response.headers.get("RSeq")
    if value is None or not 100 < response.code < 200 or not has_option(response, "Require", OPTION_TAG):
        return None
    try:
        return parse_integer(value, "RSeq", MAX_RSEQ)
    except MalformedMessage:
        return None


def rack_of(prack: Request) -> tuple[int, int, str] | None:
    """What a PRACK acknowledges: RSeq, and the number and method of the request; None when that is unreadable."""
    parts = (prack.headers.get("RAck") or "").split()
    if len(parts) != 3:
        return None
    try:
        return parse_integer(parts[0], "RAck", MAX_RSEQ), parse_integer(parts[1], "RAck", MAX_RSEQ), parts[2]
    except MalformedMessage:
        return None


class ProvisionalWire(Protocol):
    """What is below: the `Wire` of the server transaction serves."""

    def send(self, message: Response) -> None: ...
    def schedule(self, sleeper: Any) -> None: ...
    def release(self, sleeper: Any) -> None: ...


class ProvisionalUser(Protocol):
    """What is above."""

    def on_prack_timeout(self, provisional: Any, now: float) -> None:
        """No PRACK came in 64*T1 seconds: the request should be refused with a 5xx."""


class _Nobody:
    """Stands where the user was: the machine keeps nobody alive once it is over."""

    __slots__ = ()

    def on_prack_timeout(self, provisional: Any, now: float) -> None: ...


_NOBODY: Final = _Nobody()


class ReliableProvisional:
    """Repeats one response, first after T1 seconds, then at doubled intervals, until `stop` or for 64*T1 seconds."""

    __slots__ = ("_end_at", "_interval", "_resend_at", "_user", "_wire", "alarm", "response", "timing")

    def __init__(
        self, response: Response, wire: ProvisionalWire, user: ProvisionalUser, *, timing: Timing = RFC_TIMING
    ) -> None:
        self.response = response
        self.timing = timing
        self.alarm: Alarm | None = None
        self._wire = wire
        self._user: ProvisionalUser = user
        self._interval = timing.t1
        self._resend_at = inf
        self._end_at = inf

    def start(self, now: float) -> None:
        """Begin to wait, as the response has just been sent."""
        self._resend_at = now + self._interval
        self._end_at = now + self.timing.timeout
        self._wire.schedule(self)

    def stop(self) -> None:
        """Repeat it no more: its PRACK has come, or the final response has gone out."""
        wire, self._wire = self._wire, NOBODY
        self._user = _NOBODY
        self._resend_at = self._end_at = inf
        wire.release(self)

    def next_wake(self) -> float | None:
        """When `wake` is due; None when nothing is waited for."""
        when = min(self._resend_at, self._end_at)
        return None if when == inf else when

    def wake(self, now: float) -> None:
        """Repeat the response or give up, when it is time."""
        if now >= self._end_at:
            user = self._user
            self.stop()
            user.on_prack_timeout(self, now)
        elif now >= self._resend_at:
            self._interval *= 2
            due = self._resend_at + self._interval
            self._resend_at = due if due > now else now + self._interval
            self._wire.send(self.response)
            self._wire.schedule(self)
