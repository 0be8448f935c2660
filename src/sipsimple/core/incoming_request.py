"""A request that the application asked to answer itself."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from sipsimple.core.composing import check_final, checked_extra, response_to, token
from sipsimple.core.notices import post
from sipsimple.core.readonly import ReadOnly
from sipsimple.core.stack import stack
from sipsimple.loop import run_in_loop
from sipsimple.sip.errors import SIPCoreError, SIPCoreInvalidStateError
from sipsimple.sip.message import Request


class IncomingRequest:
    """Arrives by `SIPIncomingRequestGotRequest`; `state` goes from "incoming" to "answered".

    Dropped unanswered, it is answered with 500.
    """

    def __init__(self) -> None:
        self._state: str | None = None
        self._transaction: Any = None
        self._request: Request | None = None

    state = ReadOnly[str | None]()

    def answer(self, code: int, reason: str | None = None, extra_headers: Iterable[Any] | None = None) -> None:
        """Send the final response.

        Raises ValueError for a code outside 200 to 699 and for 408, SIPCoreInvalidStateError when it was answered
        already. A request whose sender has given up takes its answer in silence.
        """
        check_final(code)
        if self._state != "incoming":
            raise SIPCoreInvalidStateError(f"the request cannot be answered in the state {self._state}")
        extra = checked_extra(extra_headers)
        self._state = "answered"
        run_in_loop(self._answer, code, reason, extra)

    def _take(self, transaction: Any, request: Request) -> None:
        self._state = "incoming"
        self._transaction = transaction
        self._request = request
        post("SIPIncomingRequestGotRequest", self, request)

    def _answer(self, code: int, reason: str | None, extra: tuple[Any, ...]) -> None:
        assert self._request is not None
        response = response_to(self._request, code, reason, to_tag=token(), extra=extra)
        with suppress(SIPCoreInvalidStateError):
            # The transaction ends when nobody has answered for so long that the other side has given up.
            stack().endpoint.respond(self._transaction, response)
            post("SIPIncomingRequestSentResponse", self, response)

    def __del__(self) -> None:
        if self._state == "incoming":
            self._state = "answered"
            # Without a loop or an engine there is nobody left to answer.
            with suppress(RuntimeError, SIPCoreError):
                run_in_loop(self._answer, 500, None, ())
