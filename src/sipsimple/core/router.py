"""Takes the requests that arrive to whom they concern, and answers those that concern nobody (RFC 3261 8.2, 12.2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from sipsimple.core.composing import ACCEPT, ALLOW, response_to, session_headers, token
from sipsimple.core.hops import own_contact
from sipsimple.core.incoming_referral import IncomingReferral
from sipsimple.core.incoming_request import IncomingRequest
from sipsimple.core.incoming_subscription import IncomingSubscription
from sipsimple.core.invitation import Invitation
from sipsimple.core.notices import post
from sipsimple.core.notifier import granted
from sipsimple.core.outbound import connection_lost
from sipsimple.core.screening import examine_invite, refuse_demand
from sipsimple.sip.dialog import Dialog, contact_uri
from sipsimple.sip.errors import MalformedMessage
from sipsimple.sip.headers import FrozenEventHeader, FrozenHeader, FrozenToHeader
from sipsimple.sip.message import Request, Response
from sipsimple.sip.uri import FrozenSIPURI

if TYPE_CHECKING:
    from sipsimple.core.engine import Engine
    from sipsimple.core.invitation.incoming import IncomingLeg

MAX_CALLS: Final = 10_000
"""Calls, of ours and of others, at one time; more INVITE are answered 503."""

MAX_UNANSWERED_CALLS: Final = 1000
"""Calls of others that nobody has accepted or refused yet; more INVITE are answered 503."""

MAX_EVENT_DIALOGS: Final = 10_000
"""Subscriptions and referrals, of ours and of others, at one time; more SUBSCRIBE and REFER are answered 503."""

RETRY_AFTER: Final = 10
"""Seconds after which a caller or subscriber that was one too many may try again."""

DialogKey = tuple[str, str]
"""Call-ID and local tag."""


class DialogUser(Protocol):
    """Whoever takes the requests of a dialog: a call, a subscription, a referral."""

    @property
    def dialog_key(self) -> DialogKey: ...

    def _receive(self, transaction: Any, request: Request) -> None:
        """Answer a request; it is no ACK and no CANCEL."""

    def _receive_ack(self, ack: Request) -> None: ...


class DialogGuest(DialogUser, Protocol):
    """A subscription in a dialog that a call has made, and which it may outlive (RFC 5057)."""

    def _takes(self, request: Request) -> bool:
        """Whether a SUBSCRIBE or NOTIFY of the dialog is for this subscription."""


class Router:
    """The user of the SIP endpoint: everything that comes in passes here once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._dialogs: dict[DialogKey, DialogUser] = {}
        self._guests: dict[DialogKey, list[DialogGuest]] = {}
        self._calls = self._event_dialogs = 0
        self.unanswered: set[IncomingLeg] = set()

    @property
    def invitations(self) -> list[Invitation]:
        """Every invitation that has a dialog or waits for an answer."""
        return [user for user in self._dialogs.values() if isinstance(user, Invitation)]

    def add(self, user: DialogUser) -> None:
        """Hand the requests of its dialog to this user."""
        key = user.dialog_key
        if key not in self._dialogs:
            self._count(user, 1)
        self._dialogs[key] = user

    def remove(self, user: DialogUser) -> None:
        key = user.dialog_key
        if self._dialogs.get(key) is user:
            del self._dialogs[key]
            self._count(user, -1)

    def _count(self, user: DialogUser, difference: int) -> None:
        if isinstance(user, Invitation):
            self._calls += difference
        else:
            self._event_dialogs += difference

    def share(self, guest: DialogGuest) -> None:
        """Hand it those SUBSCRIBE and NOTIFY requests of the call's dialog that it takes."""
        self._guests.setdefault(guest.dialog_key, []).append(guest)
        self._event_dialogs += 1

    def unshare(self, guest: DialogGuest) -> None:
        guests = self._guests.get(guest.dialog_key, [])
        if guest in guests:
            guests.remove(guest)
            self._event_dialogs -= 1
        if not guests:
            self._guests.pop(guest.dialog_key, None)

    def accepted_types(self, event: str) -> list[str]:
        """The MIME types of an event package; raises ValueError when it is unknown."""
        types = self._engine.events.get(event)
        if types is None:
            raise ValueError(f"the event package {event!r} is unknown: Engine().add_event() comes first")
        return list(types)

    # What the endpoint tells

    def on_request(self, transaction: Any, request: Request) -> None:
        tag = request.to.tag
        refusal = refuse_demand(request)
        if refusal is not None and request.method not in self._engine.incoming_requests:
            self._answer(transaction, refusal)
        elif tag is not None:
            user = self._guest(request, tag) if self._guests else None
            user = user or self._dialogs.get((request.call_id, tag))
            if user is None:
                self._answer(transaction, response_to(request, 481))
            else:
                user._receive(transaction, request)
        elif request.method in self._engine.incoming_requests:
            IncomingRequest()._take(transaction, request)
        else:
            self._outside_dialog(transaction, request)

    def on_acknowledgement(self, ack: Request) -> None:
        try:
            user = self._dialogs.get((ack.call_id, ack.to.tag or ""))
        except MalformedMessage:
            return
        if user is not None:
            user._receive_ack(ack)

    def on_cancel(self, transaction: Any, cancel: Request) -> None:
        leg = transaction.user
        invitation = getattr(leg, "_invitation", None)
        if invitation is not None:
            invitation._receive_cancel(cancel)

    def on_connection_lost(self, destination: Any, error: Exception) -> None:
        """A stream connection ended; the next request opens another, unless a registration depends on it."""
        connection_lost(destination, error)

    def on_ack(self, transaction: Any, ack: Request, now: float) -> None:
        """A refusal of ours was acknowledged; nothing depends on it."""

    def on_timeout(self, transaction: Any, now: float) -> None:
        """A response of ours was not acknowledged; nothing depends on it."""

    def on_transport_error(self, transaction: Any, error: Exception, now: float) -> None:
        """A response of ours could not be sent; the other party will ask again."""

    def _guest(self, request: Request, tag: str) -> DialogUser | None:
        if request.method not in ("SUBSCRIBE", "NOTIFY"):
            return None
        guests = self._guests.get((request.call_id, tag), ())
        return next((guest for guest in guests if guest._takes(request)), None)

    # What the core answers by itself

    def _outside_dialog(self, transaction: Any, request: Request) -> None:
        match request.method:
            case "OPTIONS":
                self._answer(transaction, self.options_answer(request))
            case "INVITE":
                self._invited(transaction, request)
            case "SUBSCRIBE":
                self._subscribed(transaction, request)
            case "REFER" if "refer" in self._engine.incoming_events:
                self.referred(transaction, request)
            case "MESSAGE":
                self.got_message(transaction, request)
            case "BYE" | "INFO" | "NOTIFY" | "PRACK" | "UPDATE":
                # They exist within dialogs only, and this is of none (RFC 3261 12.2.2, RFC 6665 4.1.3).
                self._answer(transaction, response_to(request, 481, to_tag=token()))
            case _:
                self._answer(transaction, self.not_allowed(request))

    def _invited(self, transaction: Any, request: Request) -> None:
        if len(self.unanswered) >= MAX_UNANSWERED_CALLS or self._calls >= MAX_CALLS:
            self._answer(transaction, self._one_too_many(request))
            return
        refusal, offer = examine_invite(request)
        if refusal is not None:
            self._answer(transaction, refusal)
            return
        Invitation()._take(transaction, request, offer)

    def _subscribed(self, transaction: Any, request: Request) -> None:
        event = _event_of(request)
        refusal = self._examine_subscribe(request, event)
        if refusal is not None:
            self._answer(transaction, refusal)
            return
        assert event is not None
        subscription = IncomingSubscription(transaction, request, _new_dialog(transaction, request), event)
        post("SIPIncomingSubscriptionGotSubscribe", subscription, request)

    def _examine_subscribe(self, request: Request, event: FrozenEventHeader | None) -> Response | None:
        events = self._engine.incoming_events
        if event is None or event.event not in events or event.event == "refer":
            extra = [FrozenHeader("Allow-Events", ", ".join(sorted(events)))] if events else []
            return response_to(request, 489, to_tag=token(), extra=extra)
        if not granted(request):
            return response_to(request, 423, to_tag=token(), extra=[FrozenHeader("Min-Expires", "1")])
        return self._examine_event_dialog(request)

    def _examine_event_dialog(self, request: Request) -> Response | None:
        if self._event_dialogs >= MAX_EVENT_DIALOGS:
            return self._one_too_many(request)
        if contact_uri(request) is None:
            return response_to(request, 400, "Missing Contact", to_tag=token())
        return None

    def _one_too_many(self, request: Request) -> Response:
        self._engine.endpoint.statistics.overloaded += 1
        return response_to(request, 503, to_tag=token(), extra=[FrozenHeader("Retry-After", str(RETRY_AFTER))])

    def referred(self, transaction: Any, request: Request, invitation: Invitation | None = None) -> None:
        """A REFER, within the dialog of a call or outside."""
        refusal = self._examine_event_dialog(request)
        refer_to = _refer_to(request)
        if refer_to is None:
            refusal = response_to(request, 400, "Missing Refer-To", to_tag=token())
        if refusal is not None:
            self._answer(transaction, refusal)
            return
        assert refer_to is not None
        dialog = invitation._dialog if invitation is not None else _new_dialog(transaction, request)
        assert dialog is not None
        referral = IncomingReferral(transaction, request, dialog, refer_to, invitation)
        post("SIPIncomingReferralGotReferRequest", referral, request, refer_to=refer_to)

    def got_message(self, transaction: Any, request: Request) -> None:
        """A MESSAGE, within a dialog or outside."""
        self._answer(transaction, response_to(request, 200, to_tag=token()))
        media_type, _ = request.content_type or ("text/plain", {})
        main, _, sub = media_type.partition("/")
        post(
            "SIPEngineGotMessage",
            self._engine,
            request_uri=request.uri,
            from_header=request.from_,
            to_header=request.to,
            content_type=main,
            content_subtype=sub,
            body=request.body,
        )

    @staticmethod
    def options_answer(request: Request) -> Response:
        extra = [*session_headers(), FrozenHeader("Accept", ACCEPT)]
        return response_to(request, 200, to_tag=request.to.tag or token(), extra=extra)

    @staticmethod
    def not_allowed(request: Request) -> Response:
        extra = [FrozenHeader("Allow", ALLOW)]
        return response_to(request, 405, to_tag=request.to.tag or token(), extra=extra)

    def _answer(self, transaction: Any, response: Response) -> None:
        self._engine.endpoint.respond(transaction, response)


def _new_dialog(transaction: Any, request: Request) -> Dialog:
    contact = own_contact(request, transaction.wire.source)
    return Dialog.from_request(request, token(), local_contact=contact.body)


def _event_of(request: Request) -> FrozenEventHeader | None:
    value = request.headers.get("Event")
    return None if value is None else FrozenEventHeader.parse(value)


def _refer_to(request: Request) -> FrozenSIPURI | None:
    """Whom a REFER is about: one address, of any scheme."""
    values = request.headers.get_all("Refer-To")
    return FrozenToHeader.parse(values[0]).uri if len(values) == 1 else None
