"""A REFER of somebody else, and the telling of what has come of it (RFC 3515, RFC 4488)."""

from __future__ import annotations

from typing import Any, Final

from sipsimple.core.composing import check_final
from sipsimple.core.notices import post
from sipsimple.core.notifier import Notifier
from sipsimple.core.readonly import ReadOnly
from sipsimple.core.sipfrag import SIPFRAG_TYPE, write_status
from sipsimple.core.stack import stack
from sipsimple.loop import run_in_loop
from sipsimple.sip.dialog import Dialog
from sipsimple.sip.errors import SIPCoreInvalidStateError
from sipsimple.sip.headers import FrozenEventHeader, FrozenHeader
from sipsimple.sip.message import Request, Response
from sipsimple.sip.uri import FrozenSIPURI

DURATION: Final = 180
"""Seconds for which the result of a referral is told."""


class IncomingReferral(Notifier):
    """Arrives by `SIPIncomingReferralGotReferRequest`; whether to follow it is for the application to decide.

    `invitation` is the call within which it came, None outside. `refer_to` is a URI of any scheme, whose `headers`
    belong into the request to it: `Replaces` is among them in an attended transfer.
    """

    prefix = "SIPIncomingReferral"

    def __init__(
        self, transaction: Any, request: Request, dialog: Dialog, refer_to: FrozenSIPURI, invitation: Any = None
    ) -> None:
        event = FrozenEventHeader.parse(f"refer;id={request.cseq[0]}")
        super().__init__(transaction, request, dialog, event)
        self._refer_to = refer_to
        self._referred_by = request.headers.get("Referred-By")
        self._invitation = invitation
        self._silent = (request.headers.get("Refer-Sub") or "").strip().lower().startswith("false")
        self._status: tuple[int, str | None] = (100, None)

    refer_to = ReadOnly[FrozenSIPURI]()
    referred_by = ReadOnly[str | None]()
    invitation = ReadOnly[Any]()

    def accept(self, code: int = 202) -> None:
        """Follow it, and say that we try; raises ValueError for another code than 200 or 202."""
        if code not in (200, 202):
            raise ValueError(f"a REFER is accepted with 200 or 202, not {code}")
        self._claim("incoming")
        run_in_loop(self._accept, code)

    def reject(self, code: int = 603) -> None:
        """Refuse it; raises ValueError for a code outside 300 to 699, SIPCoreInvalidStateError once it is answered."""
        check_final(code, lowest=300)
        self._claim("incoming")
        run_in_loop(self._reject, code)

    def notify(self, code: int, reason: str | None = None) -> None:
        """Tell how far the call has come; a final code is the last that is told.

        Raises SIPCoreInvalidStateError before `accept()`. Once it is over there is nobody to tell, and that is fine.
        """
        if not 100 <= code <= 699:
            raise ValueError(f"a status has a code from 100 to 699, not {code}")
        if self._state == "incoming" and not self._claimed:
            raise SIPCoreInvalidStateError("it was not accepted yet")
        run_in_loop(self._tell, code, reason)

    # The work, in the loop thread

    def _accept(self, code: int) -> None:
        extra = [FrozenHeader("Refer-Sub", "false")] if self._silent else []
        if not self._reply(code, None, *extra):
            return
        if self._silent:
            self._vanish()
            return
        self._begin("active", DURATION)
        self._notify()

    def _tell(self, code: int, reason: str | None) -> None:
        if self._state != "active":
            return
        self._status = (code, reason)
        if code < 200:
            self._notify()
        else:
            self._finish("noresource")

    def _current(self) -> tuple[str | None, bytes]:
        return SIPFRAG_TYPE, write_status(*self._status)

    def _answered(self, response: Response) -> None:
        post("SIPIncomingReferralAnsweredRefer", self, response)

    def _join(self) -> None:
        if self._invitation is not None:
            stack().router.share(self)
        else:
            stack().router.add(self)

    def _leave(self) -> None:
        if self._invitation is not None:
            stack().router.unshare(self)
        else:
            stack().router.remove(self)

    def _takes(self, request: Request) -> bool:
        value = request.headers.get("Event")
        event = None if value is None else FrozenEventHeader.parse(value)
        return event is not None and event.event == "refer" and event.id in (None, self._event_header.id)
