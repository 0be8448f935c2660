"""Server transactions: every retransmission of a request gets the same answer (RFC 3261 17.2, RFC 6026, RFC 4320).

Timer G retransmits the refusal of an INVITE until its ACK comes, H gives up waiting for it, I, J and L wait for
retransmitted requests. A 2xx to an INVITE is sent once from here; `sipsimple.sip.acceptance` repeats it until the ACK.
"""

from __future__ import annotations

from math import inf
from typing import Final

from sipsimple.sip.message import Request, Response
from sipsimple.sip.timers import RFC_TIMING, Timing
from sipsimple.sip.transaction.base import NOBODY, Input, Rules, ServerUser, State, Transaction, Wire
from sipsimple.sip.transaction.matching import server_key

__all__ = ["INVITE_RULES", "NON_INVITE_RULES", "InviteServer", "NonInviteServer", "ServerTransaction"]

INVITE_RULES: Final[Rules] = {
    (State.INITIAL, Input.START): (State.PROCEEDING, "begin"),
    (State.PROCEEDING, Input.REQUEST): (State.PROCEEDING, "repeat"),
    (State.PROCEEDING, Input.RESEND): (State.PROCEEDING, "send_trying"),
    (State.PROCEEDING, Input.SEND_PROVISIONAL): (State.PROCEEDING, "send_provisional"),
    (State.PROCEEDING, Input.SEND_SUCCESS): (State.ACCEPTED, "accept"),
    (State.PROCEEDING, Input.SEND_FAILURE): (State.COMPLETED, "refuse"),
    # RFC 6026 7.1: the state is kept, or a retransmission of the INVITE would ring a second time.
    (State.PROCEEDING, Input.TRANSPORT_ERROR): (State.PROCEEDING, "report"),
    (State.COMPLETED, Input.REQUEST): (State.COMPLETED, "repeat"),
    (State.COMPLETED, Input.RESEND): (State.COMPLETED, "resend_refusal"),
    (State.COMPLETED, Input.ACK): (State.CONFIRMED, "confirm"),
    (State.COMPLETED, Input.EXPIRE): (State.TERMINATED, "time_out"),
    (State.COMPLETED, Input.TRANSPORT_ERROR): (State.COMPLETED, "report"),
    (State.CONFIRMED, Input.ACK): (State.CONFIRMED, "absorb"),
    (State.CONFIRMED, Input.EXPIRE): (State.TERMINATED, "forget"),
    # RFC 6026 7.1: the 2xx is repeated by its user until the ACK comes, not once more for every INVITE.
    (State.ACCEPTED, Input.REQUEST): (State.ACCEPTED, "absorb"),
    (State.ACCEPTED, Input.ACK): (State.ACCEPTED, "pass_ack"),
    (State.ACCEPTED, Input.SEND_SUCCESS): (State.ACCEPTED, "send_success"),
    (State.ACCEPTED, Input.TRANSPORT_ERROR): (State.ACCEPTED, "report"),
    (State.ACCEPTED, Input.EXPIRE): (State.TERMINATED, "forget"),
}

NON_INVITE_RULES: Final[Rules] = {
    (State.INITIAL, Input.START): (State.TRYING, "begin"),
    (State.TRYING, Input.REQUEST): (State.TRYING, "absorb"),
    # RFC 4320 4.1: a 100 when timer E of the peer has grown to T2, and no other provisional response ever.
    (State.TRYING, Input.RESEND): (State.PROCEEDING, "send_trying"),
    (State.TRYING, Input.SEND_SUCCESS): (State.COMPLETED, "complete"),
    (State.TRYING, Input.SEND_FAILURE): (State.COMPLETED, "complete"),
    # RFC 4320 4.2: the peer has given up by now and would take an answer for a stray.
    (State.TRYING, Input.EXPIRE): (State.TERMINATED, "time_out"),
    (State.PROCEEDING, Input.REQUEST): (State.PROCEEDING, "repeat"),
    (State.PROCEEDING, Input.SEND_SUCCESS): (State.COMPLETED, "complete"),
    (State.PROCEEDING, Input.SEND_FAILURE): (State.COMPLETED, "complete"),
    (State.PROCEEDING, Input.EXPIRE): (State.TERMINATED, "time_out"),
    (State.PROCEEDING, Input.TRANSPORT_ERROR): (State.TERMINATED, "fail"),
    (State.COMPLETED, Input.REQUEST): (State.COMPLETED, "repeat"),
    (State.COMPLETED, Input.EXPIRE): (State.TERMINATED, "forget"),
    (State.COMPLETED, Input.TRANSPORT_ERROR): (State.TERMINATED, "fail"),
}


class ServerTransaction(Transaction):
    """What the two server transactions share. `last_response` is what a retransmitted request gets."""

    __slots__ = ("last_response", "user")

    def __init__(
        self,
        request: Request,
        wire: Wire,
        user: ServerUser,
        *,
        timing: Timing = RFC_TIMING,
        key: tuple[str, ...] | None = None,
    ) -> None:
        """`key` saves computing it when the caller has it already."""
        super().__init__(request, server_key(request) if key is None else key, wire, timing)
        self.user = user
        self.last_response: Response | None = None

    def receive(self, request: Request, now: float) -> None:
        """Take a request that matches `key`: a retransmission, or the ACK."""
        self._remote_step(Input.ACK if request.method == "ACK" else Input.REQUEST, now, request)

    def respond(self, response: Response, now: float) -> None:
        """Send a response of the user; raises SIPCoreInvalidStateError when a final one was sent or it is too late."""
        code = response.code
        event = Input.SEND_PROVISIONAL if code < 200 else Input.SEND_SUCCESS if code < 300 else Input.SEND_FAILURE
        self._local_step(event, now, response)

    def _let_go(self) -> None:
        super()._let_go()
        self.user = NOBODY

    def _send(self, response: Response) -> None:
        self.last_response = response
        self.wire.send(response)

    def _repeat(self, now: float, request: Request) -> None:
        if self.last_response is not None:
            self.wire.send(self.last_response)

    def _send_trying(self, now: float, _: None) -> None:
        self._resend_at = inf
        self._send(self.request.make_response(100))

    def _time_out(self, now: float, _: None) -> None:
        self.user.on_timeout(self, now)

    def _report(self, now: float, error: Exception) -> None:
        self.user.on_transport_error(self, error, now)

    _fail = _report


class InviteServer(ServerTransaction, rules=INVITE_RULES):
    """Server side of one INVITE transaction (RFC 3261 17.2.1, RFC 6026 7.1).

    `trying_delay` is how many seconds the user has to send something before a 100 goes out: 0 sends it at once, None
    never.
    """

    __slots__ = ("_trying_delay",)

    def __init__(
        self,
        request: Request,
        wire: Wire,
        user: ServerUser,
        *,
        timing: Timing = RFC_TIMING,
        key: tuple[str, ...] | None = None,
        trying_delay: float | None = RFC_TIMING.trying_delay,
    ) -> None:
        super().__init__(request, wire, user, timing=timing, key=key)
        self._trying_delay = trying_delay

    def _begin(self, now: float, _: None) -> None:
        if self._trying_delay == 0:
            self._send_trying(now, None)
        elif self._trying_delay is not None:
            self._resend_at = now + self._trying_delay

    def _send_provisional(self, now: float, response: Response) -> None:
        self._resend_at = inf
        self._send(response)

    def _accept(self, now: float, response: Response) -> None:
        self._resend_at = inf
        self._end_at = self._late(now + self.timing.timeout)
        self._send(response)

    def _send_success(self, now: float, response: Response) -> None:
        self._send(response)

    def _refuse(self, now: float, response: Response) -> None:
        self._end_at = now + self.timing.timeout
        self._resend_at = inf if self.reliable else now + self._interval
        self._send(response)

    def _resend_refusal(self, now: float, _: None) -> None:
        self._next_interval(now, min(self._interval * 2, self.timing.t2))
        self._repeat(now, self.request)

    def _confirm(self, now: float, ack: Request) -> None:
        self._linger(now, self.timing.t4)
        self.user.on_ack(self, ack, now)

    def _pass_ack(self, now: float, ack: Request) -> None:
        self.user.on_ack(self, ack, now)


class NonInviteServer(ServerTransaction, rules=NON_INVITE_RULES):
    """Server side of one transaction other than INVITE (RFC 3261 17.2.2, RFC 4320)."""

    __slots__ = ()

    def respond(self, response: Response, now: float) -> None:
        """Send the final response of the user; raises SIPCoreInvalidStateError when one was sent or it is too late.

        Raises ValueError for 408, which must not answer such a request, and for a provisional response: the
        transaction sends the 100 by itself when it is due (RFC 4320 4).
        """
        if response.code < 200:
            raise ValueError(f"{response.code} cannot answer {self.request.method}; respond when the result is known")
        if response.code == 408:
            raise ValueError(f"408 must not answer {self.request.method}; leave it unanswered (RFC 4320)")
        super().respond(response, now)

    def _begin(self, now: float, _: None) -> None:
        self._resend_at = now + self.timing.non_invite_trying_delay
        self._end_at = now + self.timing.timeout

    def _complete(self, now: float, response: Response) -> None:
        self._linger(now, self.timing.timeout)
        self._send(response)
