"""Call transfer: asking the other party to call somebody, and being asked (RFC 3515, RFC 3891, RFC 5589).

SIPSessionTransferNewOutgoing   we ask: transfer_destination
SIPSessionTransferNewIncoming   we are asked: transfer_destination, transfer_source; the application decides
SIPSessionTransferDidStart      it was agreed to, and is being tried
SIPSessionTransferGotProgress   code, reason of the new call so far
SIPSessionTransferDidEnd        the new call stands
SIPSessionTransferDidFail       code, reason
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING, Any, Final

from zope.interface import implementer

from sipsimple.configuration.settings import SIPSimpleSettings
from sipsimple.core import SIPURI, FrozenSIPURI, Header, IncomingReferral, Referral, SIPCoreError, ToHeader
from sipsimple.lookup import DNSLookup, DNSLookupError
from sipsimple.loop import Result
from sipsimple.notification import IObserver, Notification, NotificationCenter, TimestampedNotificationData
from sipsimple.session.errors import TransferDidFail

if TYPE_CHECKING:
    from sipsimple.session.session import Session

log = logging.getLogger(__name__)

DECISION_TIMEOUT: Final = 20.0
"""Seconds that the application has to decide; after 32 s the REFER itself would time out."""

_NUMBER: Final = re.compile(r"[+0-9A-Fa-f*#().\-]+")


def target_uri(target: Any, domain: str) -> FrozenSIPURI:
    """The URI to transfer to, from a URI object or a text with `sip:`, `sips:`, `tel:`, or without any of them.

    A telephone number is asked for at `domain` (RFC 3261 19.1.6). Raises ValueError.
    """
    text = str(getattr(target, "uri", target)).strip()
    scheme, colon, rest = text.partition(":")
    if colon and scheme.lower() == "tel":
        number = rest.partition(";")[0]
        if not _NUMBER.fullmatch(number):
            raise ValueError(f"{text!r} is no telephone number")
        return FrozenSIPURI.new(SIPURI(domain, user=number, parameters={"user": "phone"}))
    if scheme.lower() not in ("sip", "sips"):
        text = f"sip:{text}" if "@" in text else f"sip:{text}@{domain}"
    try:
        return FrozenSIPURI.parse(text)
    except SIPCoreError as error:
        raise ValueError(f"{target} is no SIP address: {error}") from error


class _Transfer:
    """What both directions share."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def post(self, name: str, **attributes: Any) -> None:
        data = TimestampedNotificationData(**attributes)
        NotificationCenter().post_notification(f"SIPSessionTransfer{name}", self.session, data)

    def over(self) -> None:
        if self.session._transfer is self:
            self.session._transfer = None


@implementer(IObserver)
class OutgoingTransfer(_Transfer):
    """We ask the other party to call somebody, alone (blind) or in place of a call that we have (attended)."""

    def __init__(self, session: Session, target: FrozenSIPURI, replaced: Session | None) -> None:
        super().__init__(session)
        self._target = target
        self._replaced = replaced
        self._referral: Referral | None = None
        self.result: Result[None] = Result()

    def start(self) -> None:
        self.post("NewOutgoing", transfer_destination=self._target)
        replaced = None if self._replaced is None else self._replaced._invitation
        try:
            self._referral = Referral.within(self.session._invitation, self._target, replaced)
        except SIPCoreError as error:
            self._fail(0, str(error))
            return
        NotificationCenter().add_observer(self, sender=self._referral)
        self._referral.send_refer()

    def handle_notification(self, notification: Notification) -> None:
        data = notification.data
        match notification.name:
            case "SIPReferralDidStart":
                self.post("DidStart")
            case "SIPReferralGotNotify" if data.code < 200:
                self.post("GotProgress", code=data.code, reason=data.reason)
            case "SIPReferralGotNotify" | "SIPReferralDidEnd":
                self._ended(data.code, data.reason)
            case "SIPReferralDidFail":
                self._fail(data.code, data.reason)

    def _ended(self, code: int, reason: str) -> None:
        if self.result.done():
            return
        if not 200 <= code < 300:
            self._fail(code, reason)
            return
        self._forget()
        self.post("DidEnd")
        self.result.set_result(None)
        # The other party has the new call: ours has done its service (RFC 5589 6.1).
        self.session.end()

    def _fail(self, code: int, reason: str) -> None:
        if self.result.done():
            return
        self._forget()
        self.post("DidFail", code=code, reason=reason)
        self.result.set_exception(TransferDidFail(code, reason))

    def _forget(self) -> None:
        self.over()
        if self._referral is not None:
            NotificationCenter().discard_observer(self, sender=self._referral)

    def session_over(self) -> None:
        """The session ended before the transfer did."""
        self._fail(0, "the session ended")


@implementer(IObserver)
class IncomingTransfer(_Transfer):
    """The other party asks us to call somebody; when the application agrees, that call is made with the same media."""

    def __init__(self, session: Session, referral: IncomingReferral) -> None:
        super().__init__(session)
        self._referral = referral
        self._decided = False
        self._call: Session | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(DECISION_TIMEOUT, self.reject)
        self.post(
            "NewIncoming",
            transfer_destination=self._referral.refer_to,
            transfer_source=self._referral.referred_by,
        )

    def accept(self) -> None:
        if self._decide():
            self._referral.accept()
            self.post("DidStart")
            self.session._tasks.spawn(self._place_call())

    def reject(self, code: int = 603) -> None:
        if self._decide():
            self._referral.reject(code)
            self._fail(code, "rejected")

    def _decide(self) -> bool:
        """True the first time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        first, self._decided = not self._decided, True
        return first

    async def _place_call(self) -> None:
        try:
            await self._call_target()
        except (DNSLookupError, ValueError) as error:
            self._not_called(503, error)
        except Exception as error:
            # A stream class that takes more than an account, for one: the other party must not wait for ever.
            log.exception("the call of a transfer was not made")
            self._not_called(500, error)

    async def _call_target(self) -> None:
        session, referral = self.session, self._referral
        target = target_uri(referral.refer_to, str(session.account.id.domain))
        routes = await DNSLookup().lookup_sip_proxy(_next_hop(session, target), _transports())
        streams = [type(stream)(session.account) for stream in session.streams or []]
        call = self._call = type(session)(session.account)
        call._extra_headers = _headers(referral)
        NotificationCenter().add_observer(self, sender=call)
        bare = SIPURI.new(target)
        bare.headers = {}
        call.connect(ToHeader(bare), routes, streams)

    def _not_called(self, code: int, error: Exception) -> None:
        self._referral.notify(code)
        self._fail(code, str(error))

    def handle_notification(self, notification: Notification) -> None:
        data = notification.data
        match notification.name:
            case "SIPSessionGotProvisionalResponse":
                self._referral.notify(data.code, data.reason)
                self.post("GotProgress", code=data.code, reason=data.reason)
            case "SIPSessionDidStart":
                self._referral.notify(200)
                self._forget()
                self.post("DidEnd")
            case "SIPSessionDidFail" | "SIPSessionDidEnd":
                code = getattr(data, "code", 0) or 503
                self._referral.notify(code)
                self._fail(code, getattr(data, "reason", None) or "the new call failed")

    def _fail(self, code: int, reason: str) -> None:
        self._forget()
        self.post("DidFail", code=code, reason=reason)

    def _forget(self) -> None:
        self.over()
        if self._call is not None:
            NotificationCenter().discard_observer(self, sender=self._call)

    def session_over(self) -> None:
        """The session ended first: an undecided request dies with it, a call that is being made goes on."""
        if self._decide():
            self._fail(487, "the session ended")


def _transports() -> list[str]:
    return list(SIPSimpleSettings().sip.transport_list)


def _next_hop(session: Session, target: FrozenSIPURI) -> SIPURI:
    """Where the new call goes first: the account's proxy, else the domain of the target."""
    proxy = getattr(session.account.sip, "outbound_proxy", None)
    if proxy is None:
        return SIPURI(target.host, port=target.port, secure=target.secure, parameters=_transport_of(target))
    return SIPURI(proxy.host, port=proxy.port, parameters={"transport": proxy.transport})


def _transport_of(target: FrozenSIPURI) -> dict[str, str | None]:
    transport = target.parameters.get("transport")
    return {} if transport is None else {"transport": transport}


def _headers(referral: IncomingReferral) -> list[Header]:
    """What the new INVITE says of the one that asked for it."""
    headers = []
    replaces = {name.lower(): value for name, value in referral.refer_to.headers.items()}.get("replaces")
    if replaces:
        headers.append(Header("Replaces", replaces))
    if referral.referred_by:
        headers.append(Header("Referred-By", referral.referred_by))
    return headers
