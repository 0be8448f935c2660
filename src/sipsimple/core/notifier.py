"""The notifying side of an event dialog (RFC 6665 4.2): what `IncomingSubscription` and `IncomingReferral` share.

NOTIFY requests go out one after the other, each when the one before was answered, as a datagram that overtakes another
would be refused for its number.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final

from sipsimple.core.composing import response_to, token
from sipsimple.core.exchange import Answer, Exchange
from sipsimple.core.hops import next_hop
from sipsimple.core.notices import post
from sipsimple.core.readonly import ReadOnly
from sipsimple.core.stack import stack
from sipsimple.loop import run_in_loop
from sipsimple.sip.auth import ClientAuthenticator
from sipsimple.sip.credentials import FrozenCredentials
from sipsimple.sip.dialog import Dialog, Verdict
from sipsimple.sip.errors import MalformedMessage, SIPCoreError, SIPCoreInvalidStateError
from sipsimple.sip.headers import FrozenEventHeader, FrozenHeader
from sipsimple.sip.message import Request, Response

if TYPE_CHECKING:
    from sipsimple.sip.timers import Alarm

MAX_EXPIRES: Final = 3600
"""Seconds for which a subscription is granted at most, and when the subscriber does not say."""

MAX_WAITING_NOTIFIES: Final = 64
"""How many NOTIFY requests may wait until a subscriber has answered the one before."""

ENDING_CODES: Final = frozenset({404, 405, 408, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 503, 604})
"""Answers to a NOTIFY after which the subscription is gone (RFC 6665 4.2.2, RFC 5057 5.1)."""


class Notifier:
    """One subscription of somebody else: `incoming` -> `pending` | `active` -> `terminated`.

    Notifications begin with `prefix`. Dropped unanswered, the request is declined.
    """

    prefix: ClassVar[str]

    def __init__(self, transaction: Any, request: Request, dialog: Dialog, event: FrozenEventHeader) -> None:
        self._state = "incoming"
        self._transaction = transaction
        self._request = request
        self._dialog = dialog
        self._hop = transaction.wire.source
        self._event_header = event
        self._claimed = False
        self._authenticator = ClientAuthenticator(token)
        self._credentials: FrozenCredentials | None = None
        self._lasts_until = 0.0
        self._waiting: deque[tuple[str, str | None, bytes]] = deque()
        self._exchange: Exchange | None = None
        self._alarm: Alarm | None = None

    state = ReadOnly[str]()

    @property
    def event(self) -> str:
        """The name of the event package."""
        return self._event_header.event

    @property
    def credentials(self) -> FrozenCredentials | None:
        """Who answers when a NOTIFY is challenged; any Credentials may be assigned."""
        return self._credentials

    @credentials.setter
    def credentials(self, value: Any) -> None:
        self._credentials = None if value is None else FrozenCredentials.new(value)

    @property
    def dialog_key(self) -> tuple[str, str]:
        """Call-ID and local tag: what the router knows us by."""
        return self._dialog.call_id, self._dialog.local_tag

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._state} at {id(self):#x}>"

    def __del__(self) -> None:
        if self._state == "incoming" and not self._claimed:
            self._claimed = True
            # Without a loop or an engine there is nobody left to answer.
            with suppress(RuntimeError, SIPCoreError):
                run_in_loop(self._decline)

    # What the kinds of subscription do in their own ways

    def _join(self) -> None:
        """Get the requests of the dialog from now on."""
        stack().router.add(self)

    def _leave(self) -> None:
        stack().router.remove(self)

    def _answered(self, response: Response) -> None:
        """Tell that a request of the subscriber was answered."""
        raise NotImplementedError

    def _current(self) -> tuple[str | None, bytes]:
        """Content type and body of what a NOTIFY has to say at present."""
        raise NotImplementedError

    # Answering

    def _claim(self, *states: str) -> None:
        """Take the one answer that there is; raises SIPCoreInvalidStateError unless the state is one of these."""
        if self._state not in states or (self._state == "incoming" and self._claimed):
            raise SIPCoreInvalidStateError(f"this is not possible in the state {self._state}")
        self._claimed = True

    def _decline(self) -> None:
        with suppress(SIPCoreInvalidStateError):
            # The transaction may have ended meanwhile: the other side has given up.
            stack().endpoint.respond(self._transaction, response_to(self._request, 603, to_tag=self._dialog.local_tag))

    def _reply(self, code: int, reason: str | None = None, *headers: FrozenHeader) -> bool:
        """Answer the first request; False when nobody waits for that any more."""
        accepted = code < 300
        response = response_to(
            self._request, code, reason, to_tag=self._dialog.local_tag, extra=[*self._contact(accepted), *headers]
        )
        try:
            stack().endpoint.respond(self._transaction, response)
        except SIPCoreInvalidStateError:
            self._vanish()
            return False
        self._answered(response)
        return True

    def _contact(self, wanted: bool) -> list[FrozenHeader]:
        contact = self._dialog.local_contact
        return [FrozenHeader("Contact", contact)] if wanted and contact is not None else []

    def _reject(self, code: int) -> None:
        if self._reply(code):
            self._vanish()

    # The life of the subscription, in the loop thread

    def _begin(self, state: str, duration: int) -> None:
        self._dialog.confirm()
        self._join()
        self._last_for(duration)
        self._change(state)

    def _last_for(self, duration: int) -> None:
        self._lasts_until = stack().endpoint.now() + duration
        self._arm(duration)

    def _arm(self, delay: float | None) -> None:
        endpoint = stack().endpoint
        if self._alarm is not None:
            endpoint.cancel_alarm(self._alarm)
        self._alarm = None if delay is None else endpoint.call_at(endpoint.now() + delay, self._finish, "timeout")

    def _change(self, state: str) -> None:
        previous, self._state = self._state, state
        if previous != state:
            post(f"{self.prefix}ChangedState", self, prev_state=previous, state=state)

    def _finish(self, reason: str) -> None:
        """End it, and say why in the last NOTIFY."""
        if self._state == "terminated":
            return
        self._arm(None)
        self._change("terminated")
        self._waiting.append((f"terminated;reason={reason}", *self._current()))
        self._send_next()

    def _vanish(self) -> None:
        """It is over, and there is nobody to tell."""
        self._arm(None)
        if self._exchange is not None:
            self._exchange.abandon()
            self._exchange = None
        self._waiting.clear()
        self._change("terminated")
        self._done()

    def _done(self) -> None:
        self._leave()
        post(f"{self.prefix}DidEnd", self)

    # Notifying

    def _notify(self) -> None:
        """Tell the subscriber the present state, after what it was not told yet."""
        if len(self._waiting) >= MAX_WAITING_NOTIFIES:
            post(f"{self.prefix}NotifyDidFail", self, code=0, reason=f"{MAX_WAITING_NOTIFIES} of them wait already")
            return
        self._waiting.append((self._state, *self._current()))
        self._send_next()

    def _send_next(self) -> None:
        if self._exchange is not None or not self._waiting:
            return
        standing, content_type, body = self._waiting.popleft()
        if not standing.startswith("terminated"):
            standing = f"{standing};expires={max(0, round(self._lasts_until - stack().endpoint.now()))}"
        headers = [("Event", self._event_header.body), ("Subscription-State", standing)]
        request = self._dialog.make_request("NOTIFY", body=body, content_type=content_type, headers=headers)
        exchange = self._exchange = Exchange(
            request,
            next_hop(self._dialog, self._hop, self._request.to.uri),
            self._dialog.next_cseq,
            self._notify_answered,
            authenticator=self._authenticator,
            credentials=self._credentials,
        )
        post(f"{self.prefix}SentNotify", self, request)
        exchange.start()

    def _notify_answered(self, answer: Answer) -> None:
        self._exchange = None
        if answer.accepted:
            post(f"{self.prefix}NotifyDidSucceed", self, answer.response)
        elif answer.response is not None:
            post(f"{self.prefix}NotifyDidFail", self, answer.response)
        else:
            post(f"{self.prefix}NotifyDidFail", self, code=answer.code, reason=answer.reason)
        if answer.code in ENDING_CODES:
            self._vanish()
        elif self._waiting:
            self._send_next()
        elif self._state == "terminated":
            self._done()

    # What the router hands in

    def _receive(self, transaction: Any, request: Request) -> None:
        endpoint, router = stack().endpoint, stack().router
        if request.method != "SUBSCRIBE":
            endpoint.respond(transaction, router.not_allowed(request))
        elif self._state == "terminated" or request.from_.tag != self._dialog.remote_tag:
            endpoint.respond(transaction, response_to(request, 481))
        elif not self._takes(request):
            endpoint.respond(transaction, response_to(request, 489))
        elif self._dialog.receive(request) is Verdict.OUT_OF_ORDER:
            endpoint.respond(transaction, response_to(request, 500))
        else:
            self._refreshed(transaction, request)

    def _receive_ack(self, ack: Request) -> None:
        """There is nothing here that an ACK could be for."""

    def _takes(self, request: Request) -> bool:
        """Whether a SUBSCRIBE of the dialog is for this subscription."""
        value = request.headers.get("Event")
        if value is None:
            return False
        event = FrozenEventHeader.parse(value)
        return (event.event, event.id) == (self._event_header.event, self._event_header.id)

    def _refreshed(self, transaction: Any, request: Request) -> None:
        duration = granted(request)
        post(f"{self.prefix}{'GotRefreshingSubscribe' if duration else 'GotUnsubscribe'}", self, request)
        extra = [*self._contact(True), FrozenHeader("Expires", str(duration))]
        response = response_to(request, 200, extra=extra)
        stack().endpoint.respond(transaction, response)
        self._answered(response)
        if not duration:
            self._finish("timeout")
        elif self._state != "terminated":
            self._last_for(duration)
            self._notify()


def granted(request: Request) -> int:
    """For how many seconds a SUBSCRIBE gets what it asks for; 0 ends the subscription."""
    try:
        expires = request.expires
    except MalformedMessage:
        expires = None
    return MAX_EXPIRES if expires is None else min(expires, MAX_EXPIRES)
