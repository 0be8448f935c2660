"""The digits of an audio stream: by which way they go to the remote, and telling each of its own once.

Digits travel as telephone-events (RFC 4733), in INFO requests, or as sound. A remote may send one press by two ways,
so that a digit which came by one way is not told again when it comes by another within `SAME_PRESS`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from sipsimple.core.digits import digit_body

SAME_PRESS: Final = 1.0
"""Seconds within which one digit by two ways is one press; three presses by one way last as long."""

MAX_REMEMBERED: Final = 64


class _Press(NamedTuple):
    digit: str
    at: float
    ways: set[str]


class Presses:
    """The keys that the remote has pressed lately."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._presses: deque[_Press] = deque(maxlen=MAX_REMEMBERED)

    def is_new(self, digit: str, way: str) -> bool:
        """Take in a digit; False when another way has brought the same press before."""
        now = self._clock()
        while self._presses and now - self._presses[0].at > SAME_PRESS:
            self._presses.popleft()
        for press in self._presses:
            if press.digit == digit and way not in press.ways:
                press.ways.add(way)
                return False
        self._presses.append(_Press(digit, now, {way}))
        return True


def delivery(account: Any) -> str:
    """What the account wants of the digits it sends: `auto`, `events`, `info` or `inband`."""
    return str(getattr(account.rtp, "dtmf_delivery", "auto"))


def press(digit: str, audio: Any, session: Any, wanted: str) -> None:
    """Send a digit; raises SIPCoreError for what is none, PJSIPError when too many wait.

    With `auto` it goes as telephone-event where those were agreed on, else by INFO where the remote allows that, else
    as sound. With `events` nothing is sent where they were not agreed on.
    """
    way = wanted
    if wanted == "auto":
        way = "events" if audio.has_telephone_event else "info" if _takes_info(session) else "inband"
    if way == "info":
        audio.check_digit(digit)
        session.send_info(*digit_body(digit))
    else:
        audio.send_dtmf(digit, inband=way == "inband")


def _takes_info(session: Any) -> bool:
    return session is not None and bool(session.remote_allows("INFO"))
