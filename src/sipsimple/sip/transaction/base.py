"""What the four transaction machines of RFC 3261 17 share: states, inputs, the step, and the two doors.

A machine reaches the outside through a `Wire` (what is below: one hop, and the timer service) and a user (what is
above). It is driven by `start`, `receive`, `wake` and the calls of its user, all with the time in monotonic seconds.
Each of them is one step through the RULES of its module. Without a row for the state and the input, a message of the
peer is dropped and counted in `dropped`, and a call of our own raises and changes nothing.

A transaction that has ended lets go of its wire and user, so that it is freed by reference counting alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from math import ceil, inf
from typing import Any, ClassVar, Final, Protocol

from sipsimple.sip.errors import SIPCoreInvalidStateError
from sipsimple.sip.message import Request, Response
from sipsimple.sip.timers import RFC_TIMING, Alarm, Timing

__all__ = ["ClientUser", "Input", "Rules", "ServerUser", "State", "Transaction", "Wire"]


class State(StrEnum):
    INITIAL = "initial"
    CALLING = "calling"
    TRYING = "trying"
    PROCEEDING = "proceeding"
    COMPLETED = "completed"
    CONFIRMED = "confirmed"
    ACCEPTED = "accepted"
    TERMINATED = "terminated"


class Input(StrEnum):
    """What can happen to a transaction. The SEND inputs are responses of our user, the others named so came in."""

    START = "start"
    PROVISIONAL = "provisional response"
    SUCCESS = "2xx response"
    FAILURE = "final response other than 2xx"
    REQUEST = "request"
    ACK = "ACK"
    SEND_PROVISIONAL = "sending a provisional response"
    SEND_SUCCESS = "sending a 2xx response"
    SEND_FAILURE = "sending a final response other than 2xx"
    CANCEL = "cancelling"
    RESEND = "retransmission timer"
    EXPIRE = "end timer"
    TRANSPORT_ERROR = "transport error"


Rules = Mapping[tuple[State, Input], tuple[State, str]]
"""(state, input) -> (next state, name of the action). The state changes first, so an action may be entered again."""

_Action = Callable[[Any, float, Any], None]


class Wire(Protocol):
    """What is below a transaction: the way to one hop, and the tables of the endpoint. One may serve several."""

    @property
    def reliable(self) -> bool:
        """True when the transport loses nothing, so there is nothing to retransmit."""

    def send(self, message: Request | Response) -> None:
        """Send it. Never raises: call `transport_failed` on the transaction, at once or later."""

    def schedule(self, transaction: Any) -> None:
        """`next_wake()` of the transaction has changed, other than by a `wake` that came early."""

    def release(self, transaction: Any) -> None:
        """The transaction has ended; forget it."""

    def start_cancel(self, transaction: Any, cancel: Request, now: float) -> None:
        """Run a client transaction for this CANCEL, to where the INVITE of `transaction` went."""


class ClientUser(Protocol):
    """What is above a client transaction."""

    def on_response(self, transaction: Any, response: Response, now: float) -> None:
        """Take a response that is no retransmission; after a 2xx to an INVITE, each 2xx of each fork."""

    def on_timeout(self, transaction: Any, now: float) -> None:
        """Nothing came in time (timers B and F, or 64*T1 after a CANCEL); the transaction has ended."""

    def on_transport_error(self, transaction: Any, error: Exception, now: float) -> None:
        """The request or the ACK could not be sent; the transaction has ended."""


class ServerUser(Protocol):
    """What is above a server transaction."""

    def on_ack(self, transaction: Any, ack: Request, now: float) -> None:
        """Take the ACK to a refusal; or one to a 2xx that has the branch of its INVITE, as older peers send it."""

    def on_timeout(self, transaction: Any, now: float) -> None:
        """A refused INVITE was not acknowledged (timer H), or another request not answered in time; it has ended."""

    def on_transport_error(self, transaction: Any, error: Exception, now: float) -> None:
        """A response could not be sent. An INVITE transaction goes on, to absorb retransmissions (RFC 6026 7.1)."""


class _Nobody:
    """The wire and the user of what has ended."""

    reliable: Final = True

    def send(self, message: Request | Response) -> None: ...
    def schedule(self, transaction: Any) -> None: ...
    def release(self, transaction: Any) -> None: ...
    def start_cancel(self, transaction: Any, cancel: Request, now: float) -> None: ...
    def on_response(self, transaction: Any, response: Response, now: float) -> None: ...
    def on_ack(self, transaction: Any, ack: Request, now: float) -> None: ...
    def on_timeout(self, transaction: Any, now: float) -> None: ...
    def on_ack_timeout(self, acceptance: Any, now: float) -> None: ...
    def on_transport_error(self, transaction: Any, error: Exception, now: float) -> None: ...


NOBODY: Final = _Nobody()


class Transaction:
    """One request and its responses, over one hop.

    At any time at most two timers run: one that retransmits, one that ends the state. `alarm` belongs to the timer
    queue.
    """

    __slots__ = (
        "_end_at",
        "_interval",
        "_resend_at",
        "alarm",
        "dropped",
        "key",
        "reliable",
        "request",
        "state",
        "timing",
        "wire",
    )
    _rules: ClassVar[dict[tuple[State, Input], tuple[State, _Action]]] = {}

    def __init_subclass__(cls, rules: Rules | None = None) -> None:
        """Turn the action names of the table into functions; a name that does not exist fails the import."""
        super().__init_subclass__()
        if rules is not None:
            cls._rules = {key: (state, getattr(cls, f"_{action}")) for key, (state, action) in rules.items()}

    def __init__(self, request: Request, key: tuple[str, ...], wire: Wire, timing: Timing = RFC_TIMING) -> None:
        self.request = request
        self.key = key
        self.wire = wire
        self.reliable = wire.reliable
        self.timing = timing
        self.state = State.INITIAL
        self.dropped = 0
        self.alarm: Alarm | None = None
        self._resend_at = inf
        self._end_at = inf
        self._interval = timing.t1

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.request.method} {self.key[0]} {self.state}>"

    def start(self, now: float) -> None:
        """Begin, once the owner has put the transaction into its table."""
        self._local_step(Input.START, now)

    def transport_failed(self, error: Exception, now: float) -> None:
        """What was given to the wire could not be sent."""
        self._remote_step(Input.TRANSPORT_ERROR, now, error)

    def next_wake(self) -> float | None:
        """When `wake` is due; None when no timer runs."""
        when = self._resend_at if self._resend_at < self._end_at else self._end_at
        return None if when == inf else when

    def wake(self, now: float) -> None:
        """Fire the timers that are due; nothing happens when it is early."""
        if now >= self._end_at:
            self._end_at = inf
            self._local_step(Input.EXPIRE, now)
        elif now >= self._resend_at:
            self._local_step(Input.RESEND, now)

    def _remote_step(self, event: Input, now: float, argument: Any = None) -> None:
        rule = self._rules.get((self.state, event))
        if rule is None:
            self.dropped += 1
        else:
            self._follow(rule, now, argument)

    def _local_step(self, event: Input, now: float, argument: Any = None) -> None:
        rule = self._rules.get((self.state, event))
        if rule is None:
            raise SIPCoreInvalidStateError(f"{event} is not possible while the transaction is {self.state}")
        self._follow(rule, now, argument)

    def _follow(self, rule: tuple[State, _Action], now: float, argument: Any) -> None:
        resend_at, end_at = self._resend_at, self._end_at
        self.state, action = rule
        action(self, now, argument)
        if self.state is State.TERMINATED:
            self._let_go()
        elif self._resend_at != resend_at or self._end_at != end_at:
            self.wire.schedule(self)

    def _let_go(self) -> None:
        self._resend_at = self._end_at = inf
        wire, self.wire = self.wire, NOBODY
        wire.release(self)

    # Timers. They are set before anything is sent or told, because either may enter the machine again.

    def _linger(self, now: float, seconds: float) -> None:
        """Stay to absorb retransmissions, which only an unreliable transport brings; else end (17.1.1.2, 17.2.1)."""
        self._resend_at = inf
        if self.reliable:
            self.state = State.TERMINATED
        else:
            self._end_at = self._late(now + seconds)

    def _late(self, when: float) -> float:
        """The next multiple of T1: what only waits to be forgotten ends together, and wakes the process seldom."""
        return ceil(when / self.timing.t1) * self.timing.t1

    def _next_interval(self, now: float, interval: float) -> None:
        """Set the retransmission timer again, counted from when it was due; from now when that has passed too."""
        self._interval = interval
        due = self._resend_at + interval
        self._resend_at = due if due > now else now + interval

    # Actions that all machines know.

    def _absorb(self, now: float, argument: Any) -> None:
        """A retransmission of what is known; it needs no answer."""

    def _forget(self, now: float, argument: Any) -> None:
        """The time for retransmissions is over."""
