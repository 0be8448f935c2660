"""The subscribing side of an event dialog (RFC 6665 4.1): what `Subscription` and `Referral` have in common.

A subscription begins with a request of ours, by which the dialog comes about, or in a dialog that is there already.
The dialog may be made by the NOTIFY, when that is faster than the answer to the request; notifiers that a fork has
found besides are turned away, and forget us.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from sipsimple.core.composing import compose_request, destination_of, first_cseq, response_to, tagged, token
from sipsimple.core.exchange import Answer, Exchange
from sipsimple.core.hops import next_hop
from sipsimple.core.notices import post
from sipsimple.core.readonly import ReadOnly
from sipsimple.core.stack import stack
from sipsimple.sip.auth import ClientAuthenticator
from sipsimple.sip.credentials import FrozenCredentials
from sipsimple.sip.dialog import Dialog, Verdict
from sipsimple.sip.errors import MalformedMessage
from sipsimple.sip.headers import (
    FrozenContactHeader,
    FrozenEventHeader,
    FrozenFromHeader,
    FrozenHeader,
    FrozenRouteHeader,
    FrozenSubscriptionStateHeader,
    FrozenToHeader,
)
from sipsimple.sip.message import Request

if TYPE_CHECKING:
    from sipsimple.sip.timers import Alarm
    from sipsimple.sip.transport import Destination
    from sipsimple.sip.uri import FrozenSIPURI

FIRST_NOTIFY_TIMEOUT: Final = 32.0
"""Seconds, 64*T1, that the first NOTIFY is waited for: Timer N of RFC 6665 4.1.2.4."""

FINAL_NOTIFY_TIMEOUT: Final = 5.0
"""Seconds that the last NOTIFY is waited for, once the notifier knows that we want no more."""


class Subscriber:
    """One subscription: `NULL` -> `SENT` -> `ACCEPTED` -> `PENDING` | `ACTIVE` -> `TERMINATED`.

    Notifications begin with `prefix`. Everything with an underscore happens in the loop thread.
    """

    prefix: ClassVar[str]

    def __init__(
        self, from_header: Any, to_header: Any, contact_header: Any, route_header: Any, credentials: Any = None
    ) -> None:
        self._from_header = tagged(from_header, FrozenFromHeader.new(from_header).tag or token())
        self._to_header = FrozenToHeader.new(to_header)
        self._contact_header = FrozenContactHeader.new(contact_header)
        self._route_header = None if route_header is None else FrozenRouteHeader.new(route_header)
        self._credentials = None if credentials is None else FrozenCredentials.new(credentials)
        self._state = "NULL"
        self._call_id = token(12)
        self._cseq = first_cseq()
        self._authenticator = ClientAuthenticator(token)
        self._dialog: Dialog | None = None
        self._hop: Destination | None = None
        self._exchange: Exchange | None = None
        self._alarm: Alarm | None = None
        self._ending = False

    state = ReadOnly[str]()
    from_header = ReadOnly[FrozenFromHeader]()
    to_header = ReadOnly[FrozenToHeader]()
    contact_header = ReadOnly[FrozenContactHeader]()
    route_header = ReadOnly[FrozenRouteHeader | None]()
    credentials = ReadOnly[FrozenCredentials | None]()

    @property
    def dialog_key(self) -> tuple[str, str]:
        """Call-ID and local tag: what the router knows us by."""
        return self._call_id, str(self._from_header.tag)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._state} at {id(self):#x}>"

    # What the kinds of subscription do in their own ways

    def _takes(self, request: Request) -> bool:
        """Whether a NOTIFY of the dialog is for this subscription."""
        raise NotImplementedError

    def _got_notify(self, request: Request) -> None:
        """Tell what a NOTIFY brought; its Subscription-State is dealt with afterwards."""
        raise NotImplementedError

    def _leave(self) -> None:
        """Get no more requests of the dialog."""
        stack().router.remove(self)

    # Sending

    def _request(
        self,
        method: str,
        uri: FrozenSIPURI,
        headers: list[FrozenHeader],
        content_type: str | None = None,
        body: bytes = b"",
    ) -> Request:
        """The next request: in the dialog if there is one."""
        if self._dialog is not None:
            extra = [(header.name, header.body) for header in headers]
            return self._dialog.make_request(method, body=body, content_type=content_type, headers=extra)
        self._cseq += 1
        return compose_request(
            method,
            uri,
            from_header=self._from_header,
            to_header=self._to_header,
            call_id=self._call_id,
            cseq=self._cseq,
            contact=self._contact_header,
            route=self._route_header,
            extra=headers,
            content_type=content_type,
            body=body,
        )

    def _send(self, request: Request, answered: Any, timeout: float | None) -> None:
        """Send a request, whose answer is then the one that counts; raises SIPCoreError without an address."""
        if self._exchange is not None:
            self._exchange.abandon()
        self._exchange = Exchange(
            request,
            self._destination(),
            self._next_cseq,
            answered,
            authenticator=self._authenticator,
            credentials=self._credentials,
            timeout=timeout,
        )
        self._exchange.start()

    def _destination(self) -> Destination:
        if self._hop is None:
            assert self._route_header is not None
            self._hop = destination_of(self._route_header.uri)
        if self._dialog is None:
            return self._hop
        return next_hop(self._dialog, self._hop, self._from_header.uri)

    def _next_cseq(self) -> int:
        if self._dialog is not None:
            return self._dialog.next_cseq()
        self._cseq += 1
        return self._cseq

    def _arm(self, delay: float | None, function: Any = None) -> None:
        endpoint = stack().endpoint
        if self._alarm is not None:
            endpoint.cancel_alarm(self._alarm)
        self._alarm = None if delay is None else endpoint.call_at(endpoint.now() + delay, function)

    # The life of the dialog

    def _establish(self, answer: Answer) -> bool:
        """Take the dialog that a 2xx has made; False when the response makes none."""
        assert answer.response is not None
        try:
            if self._dialog is None:
                self._dialog = Dialog.from_response(answer.request, answer.response)
                self._to_header = answer.response.to
            else:
                self._dialog.update(answer.request, answer.response)
        except (MalformedMessage, ValueError):
            return False
        return True

    def _change(self, state: str) -> None:
        previous, self._state = self._state, state
        if previous != state:
            post(f"{self.prefix}ChangedState", self, prev_state=previous, state=state)

    def _accept(self) -> None:
        """The first sign that the notifier has us."""
        if self._state == "SENT":
            post(f"{self.prefix}DidStart", self)
            self._change("ACCEPTED")

    def _fail(self, code: int, reason: str) -> None:
        """It is over by the fault that `code` and `reason` tell; after `end()` that is no fault."""
        if self._ending:
            self._over("DidEnd")
        else:
            self._over("DidFail", code=code, reason=reason)

    def _over(self, name: str, **data: Any) -> None:
        if self._state == "TERMINATED":
            return
        self._arm(None)
        if self._exchange is not None:
            self._exchange.abandon()
            self._exchange = None
        self._leave()
        post(f"{self.prefix}{name}", self, **data)
        self._change("TERMINATED")

    # What the router hands in

    def _receive(self, transaction: Any, request: Request) -> None:
        endpoint = stack().endpoint
        if request.method != "NOTIFY":
            endpoint.respond(transaction, stack().router.not_allowed(request))
            return
        refusal = self._examine(request)
        if refusal is not None:
            endpoint.respond(transaction, response_to(request, refusal))
            return
        standing = _standing_of(request)
        if standing is None:
            endpoint.respond(transaction, response_to(request, 400, "Missing Subscription-State"))
            return
        endpoint.respond(transaction, response_to(request, 200))
        self._accept()
        self._got_notify(request)
        self._stand(standing)

    def _receive_ack(self, ack: Request) -> None:
        """There is nothing here that an ACK could be for."""

    def _examine(self, request: Request) -> int | None:
        """Which answer refuses a NOTIFY, None for one that is ours; the first one may make the dialog."""
        if not self._takes(request):
            return 489
        if self._dialog is None:
            try:
                self._dialog = Dialog.from_request(
                    request, self.dialog_key[1], local_contact=self._contact_header.body, local_cseq=self._cseq
                )
            except ValueError:
                return 400
            self._dialog.confirm()
            self._to_header = FrozenToHeader(request.from_.uri, request.from_.display_name, request.from_.parameters)
            return None
        if request.from_.tag != self._dialog.remote_tag:
            return 481
        return 500 if self._dialog.receive(request) is Verdict.OUT_OF_ORDER else None

    def _stand(self, standing: FrozenSubscriptionStateHeader) -> None:
        """Go where the notifier says that the subscription stands."""
        match standing.state.lower():
            case "terminated" if self._state != "TERMINATED":
                self._ended_by_notifier(standing)
            case "pending" | "active" if self._state != "TERMINATED":
                self._change(standing.state.upper())

    def _ended_by_notifier(self, standing: FrozenSubscriptionStateHeader) -> None:
        self._fail(0, standing.reason or "the notifier ended it")

    def _ended_at_last(self) -> None:
        """The last NOTIFY did not come."""
        self._over("DidEnd")


def event_of(request: Request) -> FrozenEventHeader | None:
    """The event package that a request is about, None when it does not say so readably."""
    value = request.headers.get("Event")
    if value is None:
        return None
    try:
        return FrozenEventHeader.parse(value)
    except MalformedMessage:
        return None


def _standing_of(request: Request) -> FrozenSubscriptionStateHeader | None:
    value = request.headers.get("Subscription-State")
    if value is None:
        return None
    try:
        return FrozenSubscriptionStateHeader.parse(value)
    except MalformedMessage:
        return None
