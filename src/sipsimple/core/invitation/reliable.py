"""The provisional responses that we send reliably: one after the other, each repeated until its PRACK (RFC 3262 3)."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from sipsimple.core.stack import stack
from sipsimple.sip.message import Request, Response
from sipsimple.sip.provisional import OPTION_TAG, ReliableProvisional, rack_of

MAX_FIRST_RSEQ: Final = 2**31 - 1


class ReliableResponses:
    """The reliable responses to one INVITE; `failed` is called when nobody acknowledges one."""

    def __init__(self, transaction: Any, failed: Callable[[], object]) -> None:
        self._transaction = transaction
        self._wire = transaction.wire
        self._failed = failed
        self._rseq = secrets.randbelow(MAX_FIRST_RSEQ) + 1
        self._current: ReliableProvisional | None = None
        self._waiting: deque[Response] = deque()
        self._afterwards: Callable[[], object] | None = None

    @property
    def described(self) -> bool:
        """True while a response with a session description is not acknowledged: no 2xx may overtake it."""
        waiting = [*([self._current.response] if self._current is not None else []), *self._waiting]
        return any(response.body for response in waiting)

    def send(self, response: Response) -> None:
        """Send it when those before are acknowledged."""
        self._waiting.append(response)
        self._send_next()

    def awaits(self, prack: Request) -> bool:
        """Whether this PRACK acknowledges the response that waits for one."""
        return self._current is not None and rack_of(prack) == (self._rseq, *self._transaction.request.cseq)

    def acknowledged(self) -> None:
        """The PRACK has come: go on with what had to wait for it."""
        if self._current is not None:
            self._current.stop()
            self._current = None
        self._rseq += 1
        self._send_next()
        if self._afterwards is not None and not self.described:
            afterwards, self._afterwards = self._afterwards, None
            afterwards()

    def afterwards(self, function: Callable[[], object]) -> None:
        """Call the function once no description waits to be acknowledged."""
        self._afterwards = function

    def stop(self) -> None:
        """The final response goes out: nothing is repeated any more."""
        self._waiting.clear()
        self._afterwards = None
        if self._current is not None:
            self._current.stop()
            self._current = None

    def _send_next(self) -> None:
        if self._current is not None or not self._waiting:
            return
        response = self._waiting.popleft()
        response.headers.add("Require", OPTION_TAG)
        response.headers.add("RSeq", str(self._rseq))
        endpoint = stack().endpoint
        endpoint.respond(self._transaction, response)
        current = self._current = ReliableProvisional(response, self._wire, self)
        current.start(endpoint.now())

    def on_prack_timeout(self, provisional: ReliableProvisional, now: float) -> None:
        self._current = None
        self.stop()
        self._failed()
