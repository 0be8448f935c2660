"""A request that the application asked to answer itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sipsimple.core.composing import checked_extra, response_to, token
from sipsimple.core.notices import post
from sipsimple.core.stack import stack
from sipsimple.loop import run_in_loop
from sipsimple.sip.errors import SIPCoreInvalidStateError
from sipsimple.sip.message import Request


class IncomingRequest:
    """Arrives by `SIPIncomingRequestGotRequest`; `state` goes from "incoming" to "answered"."""

    def __init__(self) -> None:
        self._state: str | None = None
        self._transaction: Any = None
        self._request: Request | None = None

    state = property(lambda self: self._state)

    def answer(self, code: int, reason: str | None = None, extra_headers: Iterable[Any] | None = None) -> None:
        """Send the final response; raises ValueError for a code outside 200 to 699, and when called twice."""
        if not 200 <= code <= 699:
            raise ValueError(f"a final response has a code from 200 to 699, not {code}")
        if self._state != "incoming":
            raise SIPCoreInvalidStateError(f"the request cannot be answered in the state {self._state}")
        extra = checked_extra(extra_headers)
        self._state = "answered"
        run_in_loop(self._answer, code, reason, extra)

    def _take(self, transaction: Any, request: Request) -> None:
        self._state = "incoming"
        self._transaction = transaction
        self._request = request
        # The transaction keeps us: unanswered, it is answered 500 when nobody else does.
        post("SIPIncomingRequestGotRequest", self, request)

    def _answer(self, code: int, reason: str | None, extra: tuple[Any, ...]) -> None:
        assert self._request is not None
        response = response_to(self._request, code, reason, to_tag=token(), extra=extra)
        stack().endpoint.respond(self._transaction, response)
        post("SIPIncomingRequestSentResponse", self, response)

    def __del__(self) -> None:
        if self._state == "incoming":
            self._state = "answered"
            run_in_loop(self._answer, 500, None, ())
