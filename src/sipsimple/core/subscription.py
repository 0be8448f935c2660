"""A subscription of ours to an event package (RFC 6665), refreshed by itself until it is ended."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from sipsimple.core.composing import checked_extra
from sipsimple.core.exchange import Answer
from sipsimple.core.notices import post
from sipsimple.core.readonly import ReadOnly
from sipsimple.core.stack import stack
from sipsimple.core.subscriber import FINAL_NOTIFY_TIMEOUT, FIRST_NOTIFY_TIMEOUT, Subscriber, event_of
from sipsimple.loop import run_in_loop
from sipsimple.sip.errors import MalformedMessage, SIPCoreError
from sipsimple.sip.fields import parse_seconds
from sipsimple.sip.frozen import frozenlist
from sipsimple.sip.headers import FrozenHeader, FrozenRetryAfterHeader, FrozenSubscriptionStateHeader
from sipsimple.sip.message import Request

if TYPE_CHECKING:
    from sipsimple.sip.timers import Alarm

OVER: Final = frozenset({404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604})
"""The answers to a refresh after which there is no subscription any more (RFC 6665 4.1.2.2)."""

SHORTEST_RETRY: Final = 1.0
"""Seconds from a refresh that was refused for now to the next."""


class Subscription(Subscriber):
    """Subscribes to `event` of `to_header.uri` for `refresh` seconds at a time; see `SIPSubscription...`.

    Raises ValueError for an event package that the engine does not know, or a `refresh` that is not positive.
    """

    prefix = "SIPSubscription"

    def __init__(
        self,
        from_header: Any,
        to_header: Any,
        contact_header: Any,
        event: str,
        route_header: Any,
        credentials: Any = None,
        refresh: int = 300,
    ) -> None:
        if refresh <= 0:
            raise ValueError(f"refresh is more than 0 seconds, not {refresh}")
        self._accepted_types = stack().router.accepted_types(event)
        super().__init__(from_header, to_header, contact_header, route_header, credentials)
        self._event = event
        self._refresh = refresh
        self._duration = refresh  # what we ask for: more, once the notifier has called `refresh` too brief
        self._extra_headers: frozenlist[Any] = frozenlist()
        self._content_type: str | None = None
        self._body: bytes | None = None
        self._timeout: float | None = None
        self._lasts_until = 0.0
        self._refusal = (0, "")  # of the last refresh
        self._first_notify: Alarm | None = None

    event = ReadOnly[str]()
    refresh = ReadOnly[int]()
    extra_headers = ReadOnly[frozenlist[Any]]()
    content_type = ReadOnly[str | None]()
    body = ReadOnly[bytes | None]()

    def subscribe(
        self,
        extra_headers: Iterable[Any] = (),
        content_type: str | None = None,
        body: bytes | str | None = None,
        timeout: float | None = None,
    ) -> None:
        """Subscribe, or refresh at once with these headers and body; later refreshes repeat them.

        Without an answer in `timeout` seconds a new subscription ends with 408. A refresh that is not answered, or
        refused for now, is repeated until the time is up that was granted before (RFC 6665 4.1.2.2). Raises
        SIPCoreError once it is over.
        """
        if self._state == "TERMINATED" or self._ending:
            raise SIPCoreError("the subscription is over: make another one")
        if (content_type is None) != (body is None):
            raise ValueError("content_type and body have to come together")
        _check_timeout(timeout)
        self._extra_headers = frozenlist(checked_extra(extra_headers, ("Content-Type", "Event", "Expires", "Accept")))
        self._content_type = content_type
        self._body = body.encode() if isinstance(body, str) else body
        self._timeout = timeout
        run_in_loop(self._subscribe)

    def end(self, timeout: float | None = None) -> None:
        """Unsubscribe; raises SIPCoreError when it was not begun. It is over after `timeout` seconds in any case."""
        if self._state == "NULL":
            raise SIPCoreError("the subscription was not begun, so it cannot be ended")
        _check_timeout(timeout)
        run_in_loop(self._end, timeout)

    # The work, in the loop thread

    def _subscribe(self) -> None:
        if self._state == "TERMINATED" or self._ending:
            return
        if self._state == "NULL":
            post("SIPSubscriptionWillStart", self)
            stack().router.add(self)
            self._change("SENT")
            endpoint = stack().endpoint
            self._first_notify = endpoint.call_at(endpoint.now() + FIRST_NOTIFY_TIMEOUT, self._told_nothing)
        self._ask(self._duration, self._answered)

    def _ask(self, expires: int, answered: Any, timeout: float | None = None) -> None:
        headers = [
            FrozenHeader("Event", self._event),
            FrozenHeader("Expires", str(expires)),
            FrozenHeader("Accept", ", ".join(self._accepted_types)),
            *self._extra_headers,
        ]
        try:
            request = self._request("SUBSCRIBE", self._to_header.uri, headers, self._content_type, self._body or b"")
            self._send(request, answered, timeout or self._timeout)
        except SIPCoreError as error:
            self._fail(0, str(error))

    def _end(self, timeout: float | None) -> None:
        if self._state == "TERMINATED" or self._ending:
            return
        self._ending = True
        post("SIPSubscriptionWillEnd", self)
        if self._dialog is None:
            # Nobody has accepted it yet; whoever still does is told by the answer to the NOTIFY.
            self._over("DidEnd")
            return
        self._arm(timeout or FINAL_NOTIFY_TIMEOUT, self._ended_at_last)
        self._ask(0, self._answered_last, timeout)

    def _answered(self, answer: Answer) -> None:
        self._exchange = None
        longer = _longer(answer)
        if longer is not None and longer > self._duration:
            self._duration = longer
            self._ask(longer, self._answered)
        elif not answer.accepted:
            self._refused(answer)
        elif not self._establish(answer):
            self._fail(0, "the answer to SUBSCRIBE is unusable")
        else:
            self._last_for(_granted(answer, self._duration))
            self._accept()

    def _refused(self, answer: Answer) -> None:
        """A refresh may be refused for now: what was granted before holds, and there is time to ask again."""
        left = self._lasts_until - stack().endpoint.now()
        if answer.code in OVER or left <= 0:
            self._fail(answer.code, answer.reason)
            return
        self._refusal = answer.code, answer.reason
        wait = max(SHORTEST_RETRY, _retry_after(answer) or left / 2)
        if wait < left:
            self._arm(wait, self._subscribe)
        else:
            self._arm(left, self._expired)

    def _expired(self) -> None:
        self._fail(*self._refusal)

    def _told_nothing(self) -> None:
        """Timer N: a subscription of which no NOTIFY tells has not come about (RFC 6665 4.1.2.4)."""
        self._first_notify = None
        self._fail(408, "the notifier tells nothing")

    def _answered_last(self, answer: Answer) -> None:
        self._exchange = None
        if not answer.accepted:
            # 481 and the like: there is nothing any more that could be ended.
            self._over("DidEnd")

    def _last_for(self, expires: int) -> None:
        """Refresh well before the end of what was granted."""
        self._lasts_until = stack().endpoint.now() + expires
        if expires:
            self._arm(max(1, min(expires - 30, expires / 2)), self._subscribe)
        else:
            self._arm(FINAL_NOTIFY_TIMEOUT, self._granted_nothing)

    def _granted_nothing(self) -> None:
        self._fail(0, "the notifier granted no time")

    # What the router hands in

    def _takes(self, request: Request) -> bool:
        event = event_of(request)
        return event is not None and event.event == self._event and event.id is None

    def _got_notify(self, request: Request) -> None:
        self._await_no_notify()
        post("SIPSubscriptionGotNotify", self, request)

    def _await_no_notify(self) -> None:
        alarm, self._first_notify = self._first_notify, None
        if alarm is not None:
            stack().endpoint.cancel_alarm(alarm)

    def _leave(self) -> None:
        self._await_no_notify()
        super()._leave()

    def _stand(self, standing: FrozenSubscriptionStateHeader) -> None:
        super()._stand(standing)
        if self._state not in ("PENDING", "ACTIVE") or self._ending or standing.expires is None:
            return
        # The notifier may shorten it at any time; what it only counts down is no news.
        if stack().endpoint.now() + standing.expires < self._lasts_until - 1:
            self._last_for(standing.expires)


def _check_timeout(timeout: float | None) -> None:
    if timeout is not None and timeout <= 0:
        raise ValueError(f"a timeout is more than 0 seconds, not {timeout}")


def _granted(answer: Answer, asked: int) -> int:
    assert answer.response is not None
    with suppress(MalformedMessage):
        if answer.response.expires is not None:
            return answer.response.expires
    return asked


def _retry_after(answer: Answer) -> int | None:
    """The seconds that the notifier wants to be left alone."""
    value = answer.response.headers.get("Retry-After") if answer.response else None
    if value is None:
        return None
    try:
        return FrozenRetryAfterHeader.parse(value).seconds
    except MalformedMessage:
        return None


def _longer(answer: Answer) -> int | None:
    """The shortest time that the notifier allows, when it finds ours too brief."""
    value = answer.response.headers.get("Min-Expires") if answer.code == 423 and answer.response else None
    if value is None:
        return None
    try:
        return parse_seconds(value)
    except MalformedMessage:
        return None
