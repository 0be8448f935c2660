"""Client transactions: a request goes out until somebody answers (RFC 3261 17.1, RFC 6026 8.4).

Timers A and E retransmit, B and F give up, D, K and M wait for retransmitted responses. The ACK to a 2xx is not made
here: it is a request of the dialog, and `sipsimple.sip.dialog` makes it.
"""

from __future__ import annotations

from math import inf
from typing import Final

from sipsimple.sip.message import Request, Response
from sipsimple.sip.timers import RFC_TIMING, Timing
from sipsimple.sip.transaction.base import NOBODY, ClientUser, Input, Rules, State, Transaction, Wire
from sipsimple.sip.transaction.hop import make_ack, make_cancel
from sipsimple.sip.transaction.matching import client_key

__all__ = ["INVITE_RULES", "NON_INVITE_RULES", "ClientTransaction", "InviteClient", "NonInviteClient"]

INVITE_RULES: Final[Rules] = {
    (State.INITIAL, Input.START): (State.CALLING, "send_request"),
    (State.CALLING, Input.RESEND): (State.CALLING, "resend_request"),
    (State.CALLING, Input.PROVISIONAL): (State.PROCEEDING, "proceed"),
    (State.CALLING, Input.SUCCESS): (State.ACCEPTED, "accept"),
    (State.CALLING, Input.FAILURE): (State.COMPLETED, "complete"),
    (State.CALLING, Input.EXPIRE): (State.TERMINATED, "time_out"),
    (State.CALLING, Input.TRANSPORT_ERROR): (State.TERMINATED, "fail"),
    # RFC 3261 9.1: a CANCEL could overtake the INVITE, so it waits for the first provisional response.
    (State.CALLING, Input.CANCEL): (State.CALLING, "hold_cancel"),
    (State.PROCEEDING, Input.PROVISIONAL): (State.PROCEEDING, "pass_up"),
    (State.PROCEEDING, Input.SUCCESS): (State.ACCEPTED, "accept"),
    (State.PROCEEDING, Input.FAILURE): (State.COMPLETED, "complete"),
    (State.PROCEEDING, Input.CANCEL): (State.PROCEEDING, "send_cancel"),
    # RFC 3261 9.1: 64*T1 after the CANCEL nobody will answer the INVITE any more.
    (State.PROCEEDING, Input.EXPIRE): (State.TERMINATED, "time_out"),
    # The peer repeats its response until the ACK reaches it.
    (State.COMPLETED, Input.FAILURE): (State.COMPLETED, "repeat_ack"),
    (State.COMPLETED, Input.EXPIRE): (State.TERMINATED, "forget"),
    (State.COMPLETED, Input.TRANSPORT_ERROR): (State.TERMINATED, "fail"),
    # RFC 6026 8.4: stay, so that a second 200 from a fork, or the same once more, still reaches the user.
    (State.ACCEPTED, Input.SUCCESS): (State.ACCEPTED, "pass_up"),
    (State.ACCEPTED, Input.EXPIRE): (State.TERMINATED, "forget"),
}

NON_INVITE_RULES: Final[Rules] = {
    (State.INITIAL, Input.START): (State.TRYING, "send_request"),
    (State.TRYING, Input.RESEND): (State.TRYING, "resend_request"),
    (State.TRYING, Input.PROVISIONAL): (State.PROCEEDING, "pass_up"),
    (State.TRYING, Input.SUCCESS): (State.COMPLETED, "complete"),
    (State.TRYING, Input.FAILURE): (State.COMPLETED, "complete"),
    (State.TRYING, Input.EXPIRE): (State.TERMINATED, "time_out"),
    (State.TRYING, Input.TRANSPORT_ERROR): (State.TERMINATED, "fail"),
    # RFC 3261 17.1.2.2: a provisional response slows the retransmissions down but does not end them.
    (State.PROCEEDING, Input.RESEND): (State.PROCEEDING, "resend_request_slowly"),
    (State.PROCEEDING, Input.PROVISIONAL): (State.PROCEEDING, "pass_up"),
    (State.PROCEEDING, Input.SUCCESS): (State.COMPLETED, "complete"),
    (State.PROCEEDING, Input.FAILURE): (State.COMPLETED, "complete"),
    (State.PROCEEDING, Input.EXPIRE): (State.TERMINATED, "time_out"),
    (State.PROCEEDING, Input.TRANSPORT_ERROR): (State.TERMINATED, "fail"),
    (State.COMPLETED, Input.PROVISIONAL): (State.COMPLETED, "absorb"),
    (State.COMPLETED, Input.SUCCESS): (State.COMPLETED, "absorb"),
    (State.COMPLETED, Input.FAILURE): (State.COMPLETED, "absorb"),
    (State.COMPLETED, Input.EXPIRE): (State.TERMINATED, "forget"),
}


class ClientTransaction(Transaction):
    """What the two client transactions share. `request` carries the Via with its branch already."""

    __slots__ = ("user",)

    def __init__(self, request: Request, wire: Wire, user: ClientUser, *, timing: Timing = RFC_TIMING) -> None:
        super().__init__(request, client_key(request), wire, timing)
        self.user = user

    def receive(self, response: Response, now: float) -> None:
        """Take a response that matches `key`."""
        code = response.code
        event = Input.PROVISIONAL if code < 200 else Input.SUCCESS if code < 300 else Input.FAILURE
        self._remote_step(event, now, response)

    def begin_again(self) -> None:
        """Be as before `start`: its wire leads elsewhere now, and the request has another branch."""
        self.key = client_key(self.request)
        self.reliable = self.wire.reliable
        self.state = State.INITIAL
        self._resend_at = self._end_at = inf
        self._interval = self.timing.t1

    def _let_go(self) -> None:
        super()._let_go()
        self.user = NOBODY

    def _send_request(self, now: float, _: None) -> None:
        self._end_at = now + self.timing.timeout
        if not self.reliable:
            self._resend_at = now + self._interval
        self.wire.send(self.request)

    def _pass_up(self, now: float, response: Response) -> None:
        self.user.on_response(self, response, now)

    def _time_out(self, now: float, _: None) -> None:
        self.user.on_timeout(self, now)

    def _fail(self, now: float, error: Exception) -> None:
        self.user.on_transport_error(self, error, now)


class InviteClient(ClientTransaction, rules=INVITE_RULES):
    """Client side of one INVITE transaction (RFC 3261 17.1.1, RFC 6026 8.4)."""

    __slots__ = ("_ack", "_cancel_wanted")

    def __init__(self, request: Request, wire: Wire, user: ClientUser, *, timing: Timing = RFC_TIMING) -> None:
        super().__init__(request, wire, user, timing=timing)
        self._ack: Request | None = None
        self._cancel_wanted = False

    def cancel(self, now: float) -> None:
        """Send a CANCEL as soon as a provisional response allows it; doing it again has no effect.

        Whatever comes then is told as usual: the 487, or the 2xx that was faster. Raises SIPCoreInvalidStateError when
        a final response has come.
        """
        self._local_step(Input.CANCEL, now)

    def _resend_request(self, now: float, _: None) -> None:
        # Timer A doubles without a limit; B ends it after the seventh.
        self._next_interval(now, self._interval * 2)
        self.wire.send(self.request)

    def _proceed(self, now: float, response: Response) -> None:
        self._resend_at = self._end_at = inf
        if self._cancel_wanted:
            self._start_cancel(now)
        self.user.on_response(self, response, now)

    def _accept(self, now: float, response: Response) -> None:
        self._resend_at = inf
        self._end_at = now + self.timing.timeout
        self.user.on_response(self, response, now)

    def _complete(self, now: float, response: Response) -> None:
        self._linger(now, self.timing.timeout)
        self._ack = make_ack(self.request, response)
        self.wire.send(self._ack)
        self.user.on_response(self, response, now)

    def _repeat_ack(self, now: float, response: Response) -> None:
        if self._ack is not None:
            self.wire.send(self._ack)

    def _hold_cancel(self, now: float, _: None) -> None:
        self._cancel_wanted = True

    def _send_cancel(self, now: float, _: None) -> None:
        if not self._cancel_wanted:
            self._cancel_wanted = True
            self._start_cancel(now)

    def _start_cancel(self, now: float) -> None:
        self._end_at = now + self.timing.timeout
        self.wire.start_cancel(self, make_cancel(self.request), now)


class NonInviteClient(ClientTransaction, rules=NON_INVITE_RULES):
    """Client side of one transaction other than INVITE (RFC 3261 17.1.2)."""

    __slots__ = ()

    def _resend_request(self, now: float, _: None) -> None:
        self._next_interval(now, min(self._interval * 2, self.timing.t2))
        self.wire.send(self.request)

    def _resend_request_slowly(self, now: float, _: None) -> None:
        self._next_interval(now, self.timing.t2)
        self.wire.send(self.request)

    def _complete(self, now: float, response: Response) -> None:
        self._linger(now, self.timing.t4)
        self.user.on_response(self, response, now)
