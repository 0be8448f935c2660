"""An INVITE dialog, from the first request to the BYE (RFC 3261 13, 14, 15).

`Invitation` has the documented face: state, identities, descriptions, notifications. What goes over the wire is the
work of two legs: `OutgoingLeg` for a call that we place, `IncomingLeg` for one that comes in.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sipsimple.core.client import Client
from sipsimple.core.composing import checked_extra, response_to, tagged, token
from sipsimple.core.hops import first_hop, next_hop
from sipsimple.core.invitation.goodbye import Goodbye, told_reason
from sipsimple.core.invitation.incoming import IncomingLeg
from sipsimple.core.invitation.info import Informing
from sipsimple.core.invitation.inside import receive_inside
from sipsimple.core.invitation.outgoing import OutgoingLeg
from sipsimple.core.invitation.payloads import SDPPayloads
from sipsimple.core.invitation.proposals import ReceivedProposal, SentProposal
from sipsimple.core.invitation.refreshing import Refreshing
from sipsimple.core.invitation.updates import SentUpdate
from sipsimple.core.notices import post
from sipsimple.core.outbound import on_flow
from sipsimple.core.readonly import ReadOnly
from sipsimple.core.stack import stack
from sipsimple.loop import bound_loop, run_in_loop
from sipsimple.sip.auth import ClientAuthenticator
from sipsimple.sip.credentials import FrozenCredentials
from sipsimple.sip.dialog import Dialog
from sipsimple.sip.errors import (
    MalformedMessage,
    SDPNegotiationError,
    SIPCoreError,
    SIPCoreInvalidStateError,
)
from sipsimple.sip.headers import FrozenContactHeader, FrozenFromHeader, FrozenRouteHeader, FrozenToHeader
from sipsimple.sip.message import Request, Response
from sipsimple.sip.negotiation import Negotiator, next_version
from sipsimple.sip.sdp import FrozenSDPSession
from sipsimple.sip.status import sip_status_messages

if TYPE_CHECKING:
    from sipsimple.sip.transport.address import Destination


class Invitation(Informing):
    """A dialog made by INVITE; posts `SIPInvitationChangedState` and `SIPInvitationGotSDPUpdate`.

    `state` goes None -> outgoing | incoming -> early -> connecting -> connected -> disconnecting -> disconnected;
    any state may go to disconnected, and early may be skipped.
    """

    def __init__(self) -> None:
        self._state: str | None = None
        self._sub_state: str | None = None
        self._direction: str | None = None
        self._from_header: FrozenFromHeader | None = None
        self._to_header: FrozenToHeader | None = None
        self._local_contact_header: FrozenContactHeader | None = None
        self._route_header: FrozenRouteHeader | None = None
        self._credentials: FrozenCredentials | None = None
        self._transport: str | None = None
        self._call_id: str | None = None
        self._dialog_key: tuple[str, str] | None = None
        self._remote_user_agent: str | None = None
        self._negotiator = Negotiator()
        self._authenticator = ClientAuthenticator(token)
        self._leg: OutgoingLeg | IncomingLeg | None = None
        self._proposal: SentProposal | ReceivedProposal | None = None
        self._answering: ReceivedProposal | None = None
        self._update: SentUpdate | None = None
        self._refreshing = Refreshing(self)
        self._wish: FrozenSDPSession | None = None  # our last description, before the other side limited it
        self._remote_allow: list[str] = []
        self._dialog: Dialog | None = None
        self._hop: Destination | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._claimed = False
        self._lock = threading.Lock()

    state = ReadOnly[str | None]()
    sub_state = ReadOnly[str | None]()
    direction = ReadOnly[str | None]()
    from_header = ReadOnly[FrozenFromHeader | None]()
    to_header = ReadOnly[FrozenToHeader | None]()
    local_contact_header = ReadOnly[FrozenContactHeader | None]()
    route_header = ReadOnly[FrozenRouteHeader | None]()
    credentials = ReadOnly[FrozenCredentials | None]()
    transport = ReadOnly[str | None]()
    call_id = ReadOnly[str | None]()
    remote_user_agent = ReadOnly[str | None]()

    @property
    def sdp(self) -> SDPPayloads:
        """The descriptions of both sides."""
        return SDPPayloads(self._negotiator)

    @property
    def may_propose(self) -> bool:
        """True while no INVITE of either side is under way, nor an offer (RFC 3261 14.1, RFC 3311 5.1)."""
        calm = self._state == "connected" and self._sub_state == "normal"
        return calm and not (self._proposal or self._answering or self._negotiator.proposed_local)

    @property
    def local_identity(self) -> FrozenFromHeader | FrozenToHeader | None:
        return self._to_header if self._direction == "incoming" else self._from_header

    @property
    def remote_identity(self) -> FrozenFromHeader | FrozenToHeader | None:
        return self._from_header if self._direction == "incoming" else self._to_header

    @property
    def dialog_key(self) -> tuple[str, str]:
        """Call-ID and local tag, which never change: what the router knows us by."""
        if self._dialog_key is None:
            identity = self.local_identity
            assert identity is not None
            self._dialog_key = str(self._call_id), str(identity.tag)
        return self._dialog_key

    def __repr__(self) -> str:
        return f"<Invitation {self._direction or 'unused'} {self._state} at {id(self):#x}>"

    # What the application asks for

    def send_invite(
        self,
        from_header: Any,
        to_header: Any,
        route_header: Any,
        contact_header: Any,
        sdp: Any,
        credentials: Any = None,
        extra_headers: Iterable[Any] = (),
        timeout: float | None = None,
    ) -> None:
        """Call `to_header` by this route with this offer; without a final answer in `timeout` seconds it ends (408).

        Raises SIPCoreInvalidStateError unless the state is None, ValueError for a timeout that is not positive.
        """
        if timeout is not None and timeout <= 0:
            raise ValueError(f"a timeout is more than 0 seconds, not {timeout}")
        extra = checked_extra(extra_headers, ("Content-Type", "User-Agent"))
        offer = FrozenSDPSession.new(sdp)
        with self._lock:
            if self._claimed:
                raise SIPCoreInvalidStateError(
                    f"Invitation.send_invite() needs an unused invitation, not {self._state}"
                )
            self._claimed = True
        self._direction = "outgoing"
        self._from_header = tagged(from_header, token())
        self._to_header = FrozenToHeader.new(to_header)
        self._route_header = FrozenRouteHeader.new(route_header)
        self._local_contact_header = FrozenContactHeader.new(contact_header)
        self._credentials = None if credentials is None else FrozenCredentials.new(credentials)
        self._call_id = token(12)
        run_in_loop(self._send_invite, offer, extra, timeout)

    def send_response(
        self,
        code: int,
        reason: str | None = None,
        contact_header: Any = None,
        sdp: Any = None,
        extra_headers: Iterable[Any] = (),
    ) -> None:
        """Answer an incoming INVITE; a 2xx needs `sdp`, a refusal must not have it.

        Raises SIPCoreInvalidStateError when there is nothing to answer, SDPNegotiationError when `sdp` is no answer
        to the offer; the invitation then still waits for a response.
        """
        initial = self._direction == "incoming" and self._state in ("incoming", "early")
        if not initial and self._sub_state != "received_proposal":
            raise SIPCoreInvalidStateError(
                f"Invitation.send_response() has nothing to answer in the state {self._state}"
            )
        if not 100 <= code <= 699:
            raise ValueError(f"a response has a code from 100 to 699, not {code}")
        if 200 <= code < 300 and sdp is None:
            raise SIPCoreError("a 2xx needs a session description")
        if code >= 300 and sdp is not None:
            raise SIPCoreError("a refusal has no session description")
        extra = checked_extra(extra_headers, ("Content-Type", "Server"))
        if contact_header is not None:
            self._local_contact_header = FrozenContactHeader.new(contact_header)
        local_sdp = None if sdp is None else FrozenSDPSession.new(sdp)
        run_in_loop(self._send_response, code, reason, local_sdp, extra)

    def send_reinvite(self, contact_header: Any = None, sdp: Any = None, extra_headers: Iterable[Any] = ()) -> None:
        """Offer a change of the session; without `sdp` the present one is offered again.

        Raises SIPCoreError unless connected, and while another proposal is under way, be it only its ACK that misses.
        """
        obstacle = "not acknowledged" if self._answering else self._sub_state or self._state
        if obstacle != "normal":
            raise SIPCoreError(f"Invitation.send_reinvite() is not possible: it is {obstacle}")
        extra = checked_extra(extra_headers, ("Content-Type", "User-Agent"))
        if contact_header is not None:
            self._local_contact_header = FrozenContactHeader.new(contact_header)
        offer = None if sdp is None else FrozenSDPSession.new(sdp)
        run_in_loop(self._send_reinvite, offer, extra)

    def cancel_reinvite(self) -> None:
        """Withdraw our proposal; raises SIPCoreError when there is none."""
        if self._sub_state != "sent_proposal":
            raise SIPCoreError(f"Invitation.cancel_reinvite() is not possible: it is {self._sub_state or self._state}")
        run_in_loop(self._cancel_reinvite)

    def send_update(self, contact_header: Any = None, sdp: Any = None, extra_headers: Iterable[Any] = ()) -> None:
        """Send an UPDATE (RFC 3311): a new contact, and an offer that the other side answers without asking anybody.

        `SIPInvitationUpdateDidSucceed` or `...DidFail` tells the outcome, `SIPInvitationGotSDPUpdate` what an offer
        has led to. Raises SIPCoreError unless there is a dialog, early or connected, in which nothing is under way.
        """
        if self._state not in ("early", "connected") or self._sub_state not in (None, "normal"):
            raise SIPCoreError(f"Invitation.send_update() is not possible: it is {self._sub_state or self._state}")
        extra = checked_extra(extra_headers, ("Content-Type", "User-Agent"))
        if contact_header is not None:
            self._local_contact_header = FrozenContactHeader.new(contact_header)
        run_in_loop(self._send_update, None if sdp is None else FrozenSDPSession.new(sdp), extra)

    def end(self, extra_headers: Iterable[Any] = (), timeout: float | None = None) -> None:
        """End the dialog: CANCEL before the other party answered, BYE afterwards.

        `timeout` seconds later it is over in any case. Raises SIPCoreError when it is ending already, or is an
        incoming one that was not answered (which `send_response` refuses).
        """
        if self._state == "disconnected":
            return
        early = self._state == "early" and self._direction == "outgoing"
        if self._state not in ("outgoing", "connecting", "connected") and not early:
            raise SIPCoreError(f"Invitation.end() is not possible in the state {self._state}")
        extra = checked_extra(extra_headers)
        run_in_loop(self._end, extra, timeout)

    # The work, in the loop thread

    def _send_invite(self, offer: FrozenSDPSession, extra: tuple[Any, ...], timeout: float | None) -> None:
        route = self._route_header
        assert route is not None
        assert self._from_header is not None
        assert self._to_header is not None
        self._hop = first_hop(route.uri, self._from_header.uri, self._to_header.uri)
        self._keep_on_flow()
        self._transport = self._hop.transport
        self._negotiator.set_local_offer(offer)
        self._wish = offer
        leg = self._leg = OutgoingLeg(self)
        leg.compose(offer, extra)
        if timeout is not None:
            self._timer = bound_loop().call_later(timeout, self._no_answer)
        self._change("outgoing", "local", leg.request)
        leg.send()

    def _take(self, transaction: Any, request: Request, offer: FrozenSDPSession | None) -> None:
        """Begin as the called party; the router has checked the request."""
        self._claimed = True
        self._direction = "incoming"
        self._from_header = request.from_
        self._to_header = tagged(request.to, token())
        self._call_id = request.call_id
        self._transport = transaction.wire.source.transport
        self._remote_user_agent = request.headers.get("User-Agent")
        self._remote_allow = request.headers.get_all("Allow")
        if offer is not None:
            self._negotiator.set_remote_offer(offer)
        leg = IncomingLeg(self, transaction, request)
        self._leg = leg
        self._hop = leg.hop
        self._local_contact_header = leg.default_contact()
        stack().router.add(self)
        self._change("incoming", "remote", request)

    def _send_response(
        self, code: int, reason: str | None, local_sdp: FrozenSDPSession | None, extra: tuple[Any, ...]
    ) -> None:
        self._keep_on_flow()
        if isinstance(self._proposal, ReceivedProposal):
            self._proposal.respond(code, reason, local_sdp, extra)
        elif isinstance(self._leg, IncomingLeg) and self._state in ("incoming", "early"):
            self._leg.respond(code, reason, local_sdp, extra)
        else:
            raise SIPCoreInvalidStateError(f"there is nothing to answer in the state {self._state}")

    def _send_reinvite(self, offer: FrozenSDPSession | None, extra: tuple[Any, ...]) -> None:
        if self._state != "connected" or self._proposal is not None or self._answering is not None:
            raise SIPCoreError(f"a re-INVITE is not possible: it is {self._sub_state or self._state}")
        if offer is None:
            active = self._negotiator.active_local
            assert active is not None
            offer = FrozenSDPSession.new(next_version(active))
        self._keep_on_flow()
        proposal = self._proposal = SentProposal(self)
        try:
            proposal.send(offer, self._local_contact_header, extra)
        except SIPCoreError:
            self._proposal = None
            raise

    def _send_update(self, offer: FrozenSDPSession | None, extra: tuple[Any, ...]) -> None:
        dialog, negotiator = self._dialog, self._negotiator_of(self._dialog)
        if isinstance(self._leg, OutgoingLeg) and dialog is None:
            dialog, negotiator = self._leg.last_early()
        if dialog is None or self._update is not None or self._proposal is not None:
            raise SIPCoreError(f"an UPDATE is not possible: it is {self._sub_state or self._state}")
        self._keep_on_flow()
        update = self._update = SentUpdate(self, dialog, negotiator, offer)
        try:
            update.send(extra)
        except SIPCoreError:
            self._update = None
            raise

    def _negotiator_of(self, dialog: Dialog | None) -> Negotiator | None:
        """What has been agreed in this dialog; None as long as the first offer waits for a final answer in it."""
        if dialog is not self._dialog and isinstance(self._leg, OutgoingLeg):
            return self._leg.early_negotiator(dialog)
        return self._negotiator

    def _refresh_session(self) -> None:
        """Show that we are still there (RFC 4028 7.4): by UPDATE, where the other side has said that it knows that."""
        if self.remote_allows("UPDATE"):
            self._send_update(None, ())
        else:
            self._send_reinvite(None, ())

    def _cancel_reinvite(self) -> None:
        if isinstance(self._proposal, SentProposal):
            self._proposal.cancel()

    def _end(self, extra: tuple[Any, ...], timeout: float | None) -> None:
        if self._state in ("disconnecting", "disconnected"):
            return
        if timeout is not None:
            self._arm(timeout, self._forced_out)
        if isinstance(self._leg, IncomingLeg) and self._leg.postpone_goodbye(extra):
            self._change("disconnecting", "local")
        elif self._dialog is not None and self._state in ("connecting", "connected"):
            self._bye(extra)
        elif isinstance(self._leg, OutgoingLeg):
            self._change("disconnecting", "local")
            self._leg.cancel(extra)

    def _bye(self, extra: tuple[Any, ...] = ()) -> None:
        """Say BYE in the confirmed dialog; the answer to it ends everything."""
        assert self._dialog is not None
        bye = self._dialog.make_request("BYE", headers=[(header.name, header.body) for header in extra])
        if self._state != "disconnecting":
            self._change("disconnecting", "local", bye)
        Client(stack().endpoint, bye, self._next_hop(), Goodbye(self), self._authenticator, self._credentials).send()

    def _keep_on_flow(self) -> None:
        """Have the other side reach us by the connection of our registration, when the dialog came about by it."""
        if self._local_contact_header is not None and self._hop is not None:
            self._local_contact_header = on_flow(self._local_contact_header, self._hop)

    def _next_hop(self) -> Destination:
        """Where requests of the dialog go."""
        assert self._dialog is not None
        assert self._hop is not None
        assert self.local_identity is not None
        return next_hop(self._dialog, self._hop, self.local_identity.uri)

    def _arm(self, delay: float | None, function: Any = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if delay is None else bound_loop().call_later(delay, function)

    def _no_answer(self) -> None:
        if self._state == "outgoing" and isinstance(self._leg, OutgoingLeg):
            self._leg.cancel()
            self._forced_out()

    def _forced_out(self) -> None:
        if isinstance(self._leg, IncomingLeg):
            self._leg.say_goodbye()
        self._disconnect("local", code=408, reason=sip_status_messages[408])

    # What the legs tell

    def _established(self, dialog: Dialog) -> None:
        self._dialog = dialog
        stack().router.add(self)

    def _negotiated(self, error: SDPNegotiationError | None = None, early: Negotiator | None = None) -> None:
        """Tell what was agreed, or why nothing was; `early` is what only counts until the call is accepted."""
        if error is not None:
            post("SIPInvitationGotSDPUpdate", self, succeeded=False, error=str(error))
            return
        sdp = early or self._negotiator
        post(
            "SIPInvitationGotSDPUpdate",
            self,
            succeeded=True,
            local_sdp=sdp.active_local,
            remote_sdp=sdp.active_remote,
            early=early is not None,
        )

    def _learn(self, message: Request | Response) -> None:
        """Remember who we talk to: the agent's name, and its tag."""
        if self._remote_user_agent is None:
            self._remote_user_agent = message.headers.get("User-Agent") or message.headers.get("Server")
        self._remote_allow = message.headers.get_all("Allow") or self._remote_allow
        if isinstance(message, Response):
            # Where it cannot be read, the To that we sent is the one that counts.
            with suppress(MalformedMessage):
                self._to_header = message.to

    def _change(
        self,
        state: str,
        originator: str,
        message: Request | Response | None = None,
        sub_state: str = "normal",
        **more: Any,
    ) -> None:
        """Go to a state and tell it; the sub-state is that of the state connected."""
        previous, self._state = self._state, state
        sub_states: dict[str, Any] = {}
        if previous == "connected":
            sub_states["prev_sub_state"] = self._sub_state
        self._sub_state = sub_state if state == "connected" else None
        if state == "connected":
            sub_states["sub_state"] = self._sub_state
        post(
            "SIPInvitationChangedState",
            self,
            message,
            prev_state=previous,
            state=state,
            originator=originator,
            **sub_states,
            **more,
        )

    def _disconnect(
        self,
        originator: str,
        message: Request | Response | None = None,
        disconnect_reason: str = "user request",
        **more: Any,
    ) -> None:
        """The dialog is over; lets go of everything that refers to it."""
        if self._state == "disconnected":
            return
        self._arm(None)
        self._refreshing.close()
        for part in (self._leg, self._proposal, self._answering, self._update, self._info):
            if part is not None:
                part.close()
        self._leg = self._proposal = self._answering = self._update = self._info = None
        stack().router.remove(self)
        if message is not None and originator == "remote":
            disconnect_reason = told_reason(message) or disconnect_reason
        self._change("disconnected", originator, message, disconnect_reason=disconnect_reason, **more)

    # What the router hands in

    def _receive(self, transaction: Any, request: Request) -> None:
        """A request inside the dialog, ACK excepted."""
        receive_inside(self, transaction, request)

    def _said_goodbye(self, response: Response | None, code: int = 0, reason: str = "") -> None:
        """Our BYE was answered, or nothing came back."""
        if response is not None:
            self._disconnect("local", response)
        else:
            self._disconnect("local", code=code, reason=reason)

    def _receive_reinvite(self, transaction: Any, request: Request) -> None:
        if self._state == "connected":
            ReceivedProposal.take(self, transaction, request)
        else:
            # Before the ACK of the first INVITE, or after the BYE, there is nothing to change.
            stack().endpoint.respond(transaction, response_to(request, 491))

    def _receive_ack(self, request: Request) -> None:
        if isinstance(self._leg, IncomingLeg):
            self._leg.acknowledged(request)
        if self._answering is not None:
            self._answering.acknowledged(request)

    def _receive_cancel(self, request: Request) -> None:
        if isinstance(self._proposal, ReceivedProposal):
            self._proposal.cancelled()
        elif isinstance(self._leg, IncomingLeg) and self._state in ("incoming", "early"):
            self._leg.withdrawn()
            self._disconnect("remote", request)

    def _local_tag(self) -> str:
        return self.dialog_key[1]
