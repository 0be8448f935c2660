"""The 2xx to an INVITE is repeated until its ACK comes, over every transport (RFC 3261 13.3.1.4).

The server transaction sends the first 2xx; from then on it is the business of the user agent, because each proxy on
the way forwards a 2xx without repeating it, and a reliable first hop says nothing about the hops behind.
"""

from __future__ import annotations

from math import inf
from typing import Any, Protocol

from sipsimple.sip.message import Request, Response
from sipsimple.sip.timers import RFC_TIMING, Alarm, Timing
from sipsimple.sip.transaction.base import NOBODY

__all__ = ["Acceptance", "AcceptanceUser", "AcceptanceWire"]


class AcceptanceWire(Protocol):
    """What is below: the `Wire` of the server transaction serves."""

    def send(self, message: Response) -> None: ...
    def schedule(self, sleeper: Any) -> None: ...
    def release(self, sleeper: Any) -> None: ...


class AcceptanceUser(Protocol):
    """What is above."""

    def on_ack(self, acceptance: Any, ack: Request, now: float) -> None:
        """The ACK came; told once."""

    def on_ack_timeout(self, acceptance: Any, now: float) -> None:
        """No ACK came in 64*T1 seconds: the dialog exists, but the session should be ended with a BYE."""


class Acceptance:
    """Repeats one 2xx response, first after T1 seconds, then at doubled intervals up to T2.

    It ends by `receive`, by `stop`, or after 64*T1 seconds, and then lets go of its wire and user.
    """

    __slots__ = ("_end_at", "_interval", "_resend_at", "_user", "_wire", "alarm", "dropped", "response", "timing")

    def __init__(
        self, response: Response, wire: AcceptanceWire, user: AcceptanceUser, *, timing: Timing = RFC_TIMING
    ) -> None:
        self.response = response
        self.timing = timing
        self.dropped = 0
        self.alarm: Alarm | None = None
        self._wire = wire
        self._user = user
        self._interval = timing.t1
        self._resend_at = inf
        self._end_at = inf

    @property
    def waiting(self) -> bool:
        """True from `start` until the ACK or the end."""
        return self._end_at != inf

    def start(self, now: float) -> None:
        """Begin to wait, as the response has just been sent; nothing happens when it was started or stopped before."""
        if self.waiting or self._wire is NOBODY:
            return
        self._resend_at = now + self._interval
        self._end_at = now + self.timing.timeout
        self._wire.schedule(self)

    def receive(self, ack: Request, now: float) -> None:
        """Take an ACK of the dialog; one with another CSeq number, or once more the same, is dropped and counted."""
        if not self.waiting or ack.cseq[0] != self.response.cseq[0]:
            self.dropped += 1
            return
        user = self._user
        self.stop()
        user.on_ack(self, ack, now)

    def stop(self) -> None:
        """Repeat it no more, for the dialog is over."""
        wire, self._wire, self._user = self._wire, NOBODY, NOBODY
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
            user.on_ack_timeout(self, now)
        elif now >= self._resend_at:
            self._interval = min(self._interval * 2, self.timing.t2)
            due = self._resend_at + self._interval
            self._resend_at = due if due > now else now + self._interval
            self._wire.send(self.response)
            self._wire.schedule(self)
