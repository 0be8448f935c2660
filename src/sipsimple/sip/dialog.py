"""A dialog: the lasting relation of two user agents (RFC 3261 12).

It knows how to address the peer (remote target and route set), which tags and sequence numbers come next, and whether
a request that came in is the next one. It knows nothing of sessions or subscriptions, which live in it, nor of how a
message travels: the transport adds the Via. Headers of messages are parsed here when they are touched, so what takes
a message raises MalformedMessage, and leaves the dialog as it was, when From, To, Contact or Record-Route are not
what the grammar allows.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, TypeGuard

from sipsimple.sip.errors import SIPCoreInvalidStateError
from sipsimple.sip.frozen import frozendict
from sipsimple.sip.message import Headers, Request, Response
from sipsimple.sip.uri import FrozenForeignURI, FrozenSIPURI

__all__ = [
    "CREDENTIAL_HEADERS",
    "TARGET_REFRESH_METHODS",
    "Dialog",
    "DialogID",
    "DialogState",
    "Verdict",
    "contact_uri",
    "request_dialog_id",
    "response_dialog_id",
]

DialogID = tuple[str, str, str]
"""(Call-ID, local tag, remote tag). A tag that an RFC 2543 peer left out is empty."""

TARGET_REFRESH_METHODS: Final = frozenset({"INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY", "REFER"})
"""Requests whose Contact, and that of their 2xx, moves the remote target (RFC 3261 12.2, 3311, 6665, 3515)."""

CREDENTIAL_HEADERS: Final = ("Authorization", "Proxy-Authorization")


class DialogState(StrEnum):
    EARLY = "early"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


class Verdict(StrEnum):
    """What is to be done with a request that came in the dialog."""

    PROCESS = "process"
    OUT_OF_ORDER = "out of order"
    """An older one than the last: answer 500 (RFC 3261 12.2.2)."""


def request_dialog_id(request: Request) -> DialogID:
    """Which dialog a received request belongs to."""
    return request.call_id, request.to.tag or "", request.from_.tag or ""


def response_dialog_id(response: Response) -> DialogID:
    """Which dialog a received response belongs to."""
    return response.call_id, response.from_.tag or "", response.to.tag or ""


class Dialog:
    """One dialog, early or confirmed.

    `local_party` and `remote_party` are the texts of From and To, tags included, as our requests carry them.
    `local_contact` is the text of the Contact that goes into target refresh requests; None leaves it out.
    """

    __slots__ = (
        "call_id",
        "local_contact",
        "local_cseq",
        "local_party",
        "local_tag",
        "remote_cseq",
        "remote_party",
        "remote_tag",
        "remote_target",
        "route_set",
        "secure",
        "state",
    )

    def __init__(
        self,
        id: DialogID,
        local_party: str,
        remote_party: str,
        remote_target: FrozenSIPURI,
        route_set: Iterable[FrozenSIPURI] = (),
        *,
        local_cseq: int = 0,
        remote_cseq: int | None = None,
        secure: bool = False,
        local_contact: str | None = None,
        state: DialogState = DialogState.EARLY,
    ) -> None:
        self.call_id, self.local_tag, self.remote_tag = id
        self.local_party = local_party
        self.remote_party = remote_party
        self.remote_target = remote_target
        self.route_set = tuple(route_set)
        self.local_cseq = local_cseq
        self.remote_cseq = remote_cseq
        self.secure = secure
        self.local_contact = local_contact
        self.state = state

    @classmethod
    def from_request(
        cls, request: Request, local_tag: str, *, local_contact: str | None = None, local_cseq: int = 0
    ) -> Dialog:
        """The early dialog of the side that answers `request` (12.1.1); `local_tag` goes into the To of the responses,
        unless the request has brought one.

        `local_cseq` is the number of the last request that this side has sent, when a NOTIFY makes the dialog of a
        SUBSCRIBE. Raises ValueError when the request has no Contact with a SIP URI: the answer to it is 400.
        """
        target = contact_uri(request)
        if target is None:
            raise ValueError(f"{request.method} has no Contact to send requests of the dialog to")
        to_text, tag = request.headers.get("To") or "", request.to.tag
        return cls(
            (request.call_id, tag or local_tag, request.from_.tag or ""),
            to_text if tag else f"{to_text};tag={local_tag}",
            request.headers.get("From") or "",
            target,
            [route.uri for route in request.record_routes],
            local_cseq=local_cseq,
            remote_cseq=request.cseq[0],
            secure=_is_secure(request),
            local_contact=local_contact,
        )

    @classmethod
    def from_response(cls, request: Request, response: Response) -> Dialog:
        """The dialog of the side that sent `request` (12.1.2): early by a 101-199, confirmed by a 2xx.

        Raises ValueError for another response.
        """
        if not 100 < response.code < 300:
            raise ValueError(f"a {response.code} response makes no dialog")
        # Deviation: 12.1.2 relies on a Contact. Peers that forget it answer at the address where they took the
        # request, and without a target the call could not even be ended.
        target = contact_uri(response) or request.uri
        return cls(
            response_dialog_id(response),
            request.headers.get("From") or "",
            response.headers.get("To") or "",
            target,
            [route.uri for route in reversed(response.record_routes)],
            local_cseq=request.cseq[0],
            secure=_is_secure(request),
            local_contact=request.headers.get("Contact"),
            state=DialogState.CONFIRMED if response.code >= 200 else DialogState.EARLY,
        )

    @property
    def id(self) -> DialogID:
        return self.call_id, self.local_tag, self.remote_tag

    def __repr__(self) -> str:
        return f"<Dialog {self.call_id} {self.local_tag} {self.remote_tag} {self.state}>"

    def confirm(self) -> None:
        """The answering side has sent a 2xx; nothing happens when it was confirmed before."""
        self._require_alive("confirmed")
        self.state = DialogState.CONFIRMED

    def terminate(self) -> None:
        """It is over; it makes no more requests."""
        self.state = DialogState.TERMINATED

    def update(self, request: Request, response: Response) -> None:
        """Take a response to a request of this dialog, or a further one to the request that made it.

        The first 2xx to the request that made it confirms an early dialog, whose route set is then computed again
        (13.2.2.4); the 2xx to a target refresh request moves the remote target (12.2.1.2).
        """
        if not 200 <= response.code < 300 or self.state is DialogState.TERMINATED:
            return
        if request.to.tag is None:
            # Once confirmed, a retransmission of this 2xx must not undo a later target refresh.
            if self.state is DialogState.CONFIRMED:
                return
            self.route_set = tuple(route.uri for route in reversed(response.record_routes))
            self.state = DialogState.CONFIRMED
        if request.method in TARGET_REFRESH_METHODS:
            self.remote_target = contact_uri(response) or self.remote_target

    def receive(self, request: Request) -> Verdict:
        """Check the order of a request that came in the dialog, and take its Contact when it is a target refresh.

        ACK and CANCEL repeat the number of their INVITE and are always in order.
        """
        if request.method in ("ACK", "CANCEL"):
            return Verdict.PROCESS
        number = request.cseq[0]
        # The same number in a new transaction is no retransmission, so doing it a second time could only be wrong.
        if self.remote_cseq is not None and number <= self.remote_cseq:
            return Verdict.OUT_OF_ORDER
        if request.method in TARGET_REFRESH_METHODS:
            self.remote_target = contact_uri(request) or self.remote_target
        self.remote_cseq = number
        return Verdict.PROCESS

    def next_hop(self) -> FrozenSIPURI:
        """Where requests go first: the top route, else the remote target; to be resolved by RFC 3263."""
        return self.route_set[0] if self.route_set else self.remote_target

    def next_cseq(self) -> int:
        """Count one more request of ours, as when one is sent again with credentials."""
        self.local_cseq += 1
        return self.local_cseq

    def make_request(
        self,
        method: str,
        *,
        body: bytes = b"",
        content_type: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> Request:
        """The next request of the dialog (12.2.1.1); `headers` are added as they are. It has no Via yet.

        Raises ValueError for ACK (`make_ack`) and CANCEL (`make_cancel`), SIPCoreInvalidStateError when the dialog is
        over.
        """
        if method in ("ACK", "CANCEL"):
            raise ValueError(f"{method} belongs to an INVITE that was sent; make it from that")
        self._require_alive(f"used for {method}")
        request = self._build(method, self.local_cseq + 1, headers)
        if self.local_contact is not None and method in TARGET_REFRESH_METHODS and "Contact" not in request.headers:
            request.headers.add("Contact", self.local_contact)
        _add_body(request, body, content_type)
        self.local_cseq += 1
        return request

    def make_ack(self, invite: Request, *, body: bytes = b"", content_type: str | None = None) -> Request:
        """The ACK to a 2xx for the INVITE of this dialog (13.2.2.4): its number, its credentials, our route set.

        Also possible when the dialog is over, as the peer repeats its 2xx until the ACK comes.
        """
        credentials = [(name, value) for name in CREDENTIAL_HEADERS for value in invite.headers.get_all(name)]
        ack = self._build("ACK", invite.cseq[0], credentials)
        _add_body(ack, body, content_type)
        return ack

    def _build(self, method: str, cseq: int, extra: Iterable[tuple[str, str]]) -> Request:
        uri, routes = self._addresses()
        headers = Headers.wrap(
            [
                *(("Route", f"<{route}>") for route in routes),
                ("Max-Forwards", "70"),
                ("From", self.local_party),
                ("To", self.remote_party),
                ("Call-ID", self.call_id),
                ("CSeq", f"{cseq} {method}"),
            ]
        )
        for name, value in extra:
            headers.add(name, value)
        return Request(method, uri, headers)

    def _addresses(self) -> tuple[FrozenSIPURI, tuple[FrozenSIPURI, ...]]:
        """Request-URI and Route of a request: a strict router wants to be the Request-URI itself (12.2.1.1)."""
        if not self.route_set or "lr" in self.route_set[0].parameters:
            return self.remote_target, self.route_set
        first, *others = self.route_set
        return _as_request_uri(first), (*others, self.remote_target)

    def _require_alive(self, purpose: str) -> None:
        if self.state is DialogState.TERMINATED:
            raise SIPCoreInvalidStateError(f"the dialog is over and cannot be {purpose}")


def _is_secure(request: Request) -> bool:
    return request.raw_uri[:5].lower() == "sips:"


def _is_sip(uri: object) -> TypeGuard[FrozenSIPURI]:
    return isinstance(uri, FrozenSIPURI) and not isinstance(uri, FrozenForeignURI)


def contact_uri(message: Request | Response) -> FrozenSIPURI | None:
    """Where requests of the dialog that the message makes go; None when no SIP URI is there."""
    contacts = message.contacts
    uri = contacts[0].uri if contacts else None
    return uri if _is_sip(uri) else None


def _as_request_uri(uri: FrozenSIPURI) -> FrozenSIPURI:
    """Without what a Request-URI may not have: the method parameter and the headers (19.1.1)."""
    parameters: frozendict[str, str | None] = frozendict(
        (name, value) for name, value in uri.parameters.items() if name != "method"
    )
    return FrozenSIPURI(uri.host, uri.user, uri.password, uri.port, uri.secure, parameters)


def _add_body(request: Request, body: bytes, content_type: str | None) -> None:
    if (content_type is None) != (not body):
        raise ValueError("content_type and body must come together")
    if content_type is not None:
        request.headers.add("Content-Type", content_type)
        request.body = body
