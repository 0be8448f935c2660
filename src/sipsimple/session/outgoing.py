"""The flow of a session that we propose: INVITE, one route after the other, until the streams run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sipsimple.configuration.settings import SIPSimpleSettings
from sipsimple.core import Invitation, RouteHeader, SDPNegotiationError, sip_status_messages
from sipsimple.session import sdp
from sipsimple.session.events import DialogChanged, Negotiated, StreamStarted
from sipsimple.session.flow import (
    GOODBYE_TIMEOUT,
    CallFlow,
    DialogOver,
    HangUp,
    Interrupted,
    NotNegotiated,
    StreamBroke,
    reason_of,
)

if TYPE_CHECKING:
    from sipsimple.core import ToHeader
    from sipsimple.notification import NotificationData
    from sipsimple.util import Route


class OutgoingCall(CallFlow):
    """Establishes one outgoing session."""

    async def establish(self, to_header: ToHeader, routes: Sequence[Route], streams: list[Any]) -> bool:
        """Run the call up to `SIPSessionDidStart`; False when the session is over instead."""
        self.streams = streams
        try:
            await self.initialize_streams(streams, "outgoing")
        except HangUp:
            self.cancelled_before_invite()
            return False
        except StreamBroke as error:
            self.give_up(streams)
            self.did_fail("local", 0, None, str(error))
            return False
        for position, route in enumerate(routes):
            try:
                await self.invite(to_header, route)
                break
            except HangUp:
                await self.cancel()
                return False
            except StreamBroke as error:
                await self.cancel(str(error))
                return False
            except TimeoutError:
                await self.cancel("timeout", code=408, reason="Request Timeout")
                return False
            except NotNegotiated as error:
                await self.answer_unusable(error)
                return False
            except SDPNegotiationError as error:
                # A stream has nothing to offer on this way: keys that others could read, where encryption is demanded.
                self.session._forget_invitation()
                self.give_up(streams)
                self.did_fail("local", 0, None, f"SDP negotiation failed: {error}")
                return False
            except DialogOver as error:
                if position + 1 < len(routes) and _may_try_next(error.data):
                    self.report_answer(error.data)
                    self.session._forget_invitation()
                    continue
                self.rejected(error.data)
                return False
        else:
            self.give_up(streams)
            self.did_fail("local", 0, None, "No more routes to try")
            return False
        return await self.start()

    async def invite(self, to_header: ToHeader, route: Route) -> None:
        """Send the INVITE by this route and wait for a 2xx with an answer."""
        session = self.session
        session.route = route
        session.transport = route.transport
        invitation = Invitation()
        session._follow(invitation)
        timeout = SIPSimpleSettings().sip.invite_timeout
        invitation.send_invite(
            session._from_header(),
            to_header,
            RouteHeader(route.get_uri()),
            session._contact_header(),
            sdp.offer(session._local_address(), self.streams),
            session.account.credentials,
            extra_headers=session._extra_headers,
        )
        deadline = None if timeout is None else self.deadline(timeout)
        answered = False
        while True:
            match self.interruption(await self.next(deadline)):
                case DialogChanged(state="early", data=data):
                    if data.code == 180:
                        self.post("SIPSessionGotRingIndication")
                    self.post("SIPSessionGotProvisionalResponse", code=data.code, reason=data.reason)
                case Negotiated() as negotiated if not answered:
                    self.start_early(negotiated)
                case StreamStarted(stream):
                    self.running.append(stream)
                case DialogChanged(state="connecting"):
                    answered = True
                    self.post("SIPSessionWillStart")
                case Negotiated() as negotiated:
                    self.negotiated = negotiated
                case DialogChanged(state="connected"):
                    self.acknowledged = True
                    return

    def start_early(self, negotiated: Negotiated) -> None:
        """Play what comes before the call is answered (RFC 3960): announcements, the ringing tone of the other side."""
        for stream in self.streams:
            accepted = sdp.accepts(negotiated.local_sdp, stream.index)
            if not (accepted and sdp.accepts(negotiated.remote_sdp, stream.index)):
                continue
            if stream in self.early:
                stream.update(negotiated.local_sdp, negotiated.remote_sdp, stream.index)
            else:
                self.early.append(stream)
                stream.start(negotiated.local_sdp, negotiated.remote_sdp, stream.index)

    async def start(self) -> bool:
        assert self.negotiated is not None, "a connected dialog has negotiated"
        try:
            await self.start_streams(self.negotiated)
        except DialogOver as error:
            await self.remote_hung_up(error.data)
            return False
        except HangUp:
            await self.hang_up("user_request")
            return False
        except Interrupted as error:
            await self.hang_up(_failure(error))
            return False
        self.post_transaction("local", "INVITE", 200, "OK")
        self.did_start()
        return True

    # The ways in which it ends early

    def cancelled_before_invite(self) -> None:
        self.give_up(self.streams)
        self.did_fail("local", 487, "Session Cancelled", "user_request")

    async def cancel(
        self, failure_reason: str = "user_request", code: int = 487, reason: str = "Session Cancelled"
    ) -> None:
        """Withdraw the INVITE; a 2xx that crosses the CANCEL is released by the dialog itself."""
        session = self.session
        session.state = "terminating"
        for stream in self.streams:
            session._ignore(stream)
            stream.deactivate()
        self.release()
        data = await self.disconnected(2 * GOODBYE_TIMEOUT)
        if data is not None and hasattr(data, "code"):
            self.post_transaction("local", "INVITE", *_end_of_invite(data))
        for stream in self.streams:
            stream.end()
        self.did_fail("local", code, reason, failure_reason)

    async def answer_unusable(self, error: NotNegotiated) -> None:
        """The 2xx carried no answer to our offer; the dialog is released."""
        session = self.session
        session.state = "terminating"
        self.give_up(self.streams)
        self.release()
        await self.disconnected(2 * GOODBYE_TIMEOUT)
        self.did_fail("remote", 200, "OK", f"SDP negotiation failed: {error}")

    def rejected(self, data: NotificationData) -> None:
        self.give_up(self.streams)
        self.session.state = "terminated"
        self.report_answer(data)
        if not hasattr(data, "code"):
            self.did_fail("local", 0, None, reason_of(data))
            return
        contacts = data.headers.get("Contact", []) if 300 <= data.code < 400 else None
        self.did_fail("remote", data.code, data.reason, reason_of(data), redirect_identities=contacts)

    def report_answer(self, data: NotificationData) -> None:
        if hasattr(data, "code"):
            self.post_transaction("local", "INVITE", data.code, data.reason)


def _may_try_next(data: NotificationData) -> bool:
    """Timeout, transport error and 503 say that the route is dead (RFC 3263 4.3); any other answer settles the call."""
    return getattr(data, "code", 503) == 503


def _end_of_invite(data: NotificationData) -> tuple[int, str]:
    """What became of an INVITE that we withdrew; where a 2xx has crossed the CANCEL, `data` is of the BYE to that."""
    if data.code < 300 or getattr(data, "headers", {}).get("CSeq", (0, "INVITE"))[1] == "BYE":
        return 487, sip_status_messages[487]
    return data.code, data.reason


def _failure(error: Interrupted) -> str:
    return f"SDP negotiation failed: {error}" if isinstance(error, NotNegotiated) else str(error)
