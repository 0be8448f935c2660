"""Session timers: a call that nobody refreshes is over, though no BYE came (RFC 4028)."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Final, Protocol

from sipsimple.sip.errors import MalformedMessage
from sipsimple.sip.fields import parse_seconds
from sipsimple.sip.lexer import LWS, parse_parameters
from sipsimple.sip.message import Message, Response
from sipsimple.sip.timers import Alarm

__all__ = ["OPTION_TAG", "SessionExpires", "SessionTimer", "min_se_of", "session_expires_of"]

OPTION_TAG: Final = "timer"
MAX_MARGIN: Final = 32.0
"""Seconds before the end at which the session is given up, for short sessions a third of their time (RFC 4028 10)."""


@dataclass(frozen=True, slots=True)
class SessionExpires:
    """The header: for how many seconds a refresh lasts, and which party, `uac` or `uas`, has to make it."""

    seconds: int
    refresher: str | None = None

    @classmethod
    def parse(cls, value: str) -> SessionExpires:
        seconds, semicolon, rest = value.partition(";")
        parameters = parse_parameters(rest) if semicolon else {}
        named = next((value for name, value in parameters.items() if name.lower() == "refresher"), None)
        refresher = (named or "").lower()
        return cls(parse_seconds(seconds.strip(LWS)), refresher if refresher in ("uac", "uas") else None)

    def __str__(self) -> str:
        return f"{self.seconds};refresher={self.refresher}" if self.refresher else str(self.seconds)


def session_expires_of(message: Message) -> SessionExpires | None:
    """The Session-Expires of a message; None when there is none, or it is unreadable."""
    value = message.headers.get("Session-Expires")
    if value is None:
        return None
    try:
        return SessionExpires.parse(value)
    except MalformedMessage:
        return None


def min_se_of(response: Response) -> int | None:
    """The shortest time that a 422 allows."""
    value = response.headers.get("Min-SE")
    if value is None:
        return None
    try:
        return parse_seconds(value.partition(";")[0].strip(LWS))
    except MalformedMessage:
        return None


class SessionTimerUser(Protocol):
    """What is above."""

    def on_refresh_due(self) -> None:
        """Half the time is over, and it is our turn to refresh."""

    def on_session_expired(self) -> None:
        """Nobody has refreshed the session in time: it should be ended with BYE."""


class SessionTimer:
    """Counts from one refresh to the next; silent until `agree` is called."""

    __slots__ = ("_end_at", "_refresh_at", "_user", "alarm", "refreshing", "seconds")

    def __init__(self, user: SessionTimerUser) -> None:
        self._user = user
        self.alarm: Alarm | None = None
        self.seconds = 0
        self.refreshing = False
        self._refresh_at = inf
        self._end_at = inf

    def agree(self, seconds: int, refreshing: bool, now: float) -> None:
        """The session was refreshed for so many seconds; `refreshing` says whether the next refresh is ours."""
        self.seconds = seconds
        self.refreshing = refreshing
        self._refresh_at = now + seconds / 2 if refreshing else inf
        self._end_at = now + seconds - min(MAX_MARGIN, seconds / 3)

    def postpone(self, now: float) -> None:
        """Our refresh failed: try once more while there is time."""
        if self.refreshing and now < self._end_at:
            self._refresh_at = now + (self._end_at - now) / 2

    def stop(self) -> None:
        """The session lasts for as long as it likes, or is over."""
        self.refreshing = False
        self._refresh_at = self._end_at = inf

    def next_wake(self) -> float | None:
        """When `wake` is due; None when nothing is waited for."""
        when = min(self._refresh_at, self._end_at)
        return None if when == inf else when

    def wake(self, now: float) -> None:
        """Tell what is due."""
        if now >= self._end_at:
            self.stop()
            self._user.on_session_expired()
        elif now >= self._refresh_at:
            self._refresh_at = inf
            self._user.on_refresh_due()
