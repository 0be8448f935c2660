"""INFO inside the dialog of a call: what its applications say to each other, without an effect on it (RFC 6086).

Of what RFC 6086 calls legacy usage, the digits of a telephone's keys are understood (`sipsimple.core.digits`). Requests
go out one after another, so that digits arrive in the order in which they were pressed.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sipsimple.core.composing import response_to
from sipsimple.core.digits import DIGIT_TYPES
from sipsimple.core.exchange import Answer, Exchange
from sipsimple.core.invitation.asking import exchange_inside
from sipsimple.core.notices import post
from sipsimple.core.stack import stack
from sipsimple.loop import run_in_loop
from sipsimple.sip.errors import SIPCoreError, SIPCoreInvalidStateError
from sipsimple.sip.headers import FrozenHeader
from sipsimple.sip.message import Request

if TYPE_CHECKING:
    from sipsimple.core.invitation.invitation import Invitation
    from sipsimple.sip.dialog import Dialog

log = logging.getLogger(__name__)

MAX_WAITING: Final = 32
"""Requests that wait for the answer to the one before; more are refused."""

_BAD_EVENT: Final = 469


class _Message(NamedTuple):
    content_type: str
    body: bytes


class InfoSender:
    """The requests of one dialog, of which one is under way at a time."""

    def __init__(self, invitation: Invitation, dialog: Dialog) -> None:
        self._invitation = invitation
        self._dialog = dialog
        self._waiting: deque[_Message] = deque()
        self._exchange: Exchange | None = None

    @property
    def is_full(self) -> bool:
        return len(self._waiting) >= MAX_WAITING

    def send(self, content_type: str, body: bytes) -> None:
        """Send a request after those before it."""
        self._waiting.append(_Message(content_type, body))
        if self._exchange is None:
            self._send_next()

    def close(self) -> None:
        """The dialog is over: what waits is not sent any more."""
        self._waiting.clear()
        if self._exchange is not None:
            self._exchange.abandon()
            self._exchange = None

    def _send_next(self) -> None:
        invitation, message = self._invitation, self._waiting.popleft()
        request = self._dialog.make_request("INFO", body=message.body, content_type=message.content_type)
        invitation._keep_on_flow()
        self._exchange = exchange_inside(invitation, self._dialog, request, self._answered)
        self._exchange.start()

    def _answered(self, answer: Answer) -> None:
        self._exchange = None
        if not answer.accepted:
            log.warning("an INFO was refused: %d %s", answer.code, answer.reason)
            post("SIPInvitationInfoDidFail", self._invitation, code=answer.code, reason=answer.reason)
        if self._waiting:
            self._send_next()


class Informing:
    """What an invitation does with INFO, as far as its application sees."""

    _remote_allow: list[str]
    _dialog: Dialog | None
    _info: InfoSender | None = None

    def remote_allows(self, method: str) -> bool:
        """True when the other side has said, by Allow, that it takes such requests."""
        return any(name.strip() == method for value in self._remote_allow for name in value.split(","))

    def send_info(self, content_type: str, body: bytes) -> None:
        """Send an INFO after those that wait; `SIPInvitationInfoDidFail` tells of a refusal.

        Raises SIPCoreInvalidStateError unless connected, SIPCoreError when `MAX_WAITING` requests wait.
        """
        if self.state != "connected":  # type: ignore[attr-defined]  # the invitation has it
            raise SIPCoreInvalidStateError("an INFO is for calls that are connected")
        if self._info is not None and self._info.is_full:
            raise SIPCoreError(f"{MAX_WAITING} INFO requests wait for answers already: send fewer")
        run_in_loop(self._send_info, content_type, body)

    def _send_info(self: Any, content_type: str, body: bytes) -> None:
        if self._dialog is None or self.state != "connected":
            return  # it ended meanwhile
        if self._info is None:
            self._info = InfoSender(self, self._dialog)
        self._info.send(content_type, body)


def take_info(invitation: Any, transaction: Any, request: Request) -> None:
    """Answer an INFO, and tell of one that holds something known (RFC 6086 4.2.2)."""
    endpoint = stack().endpoint
    if "Info-Package" in request.headers:
        endpoint.respond(transaction, response_to(request, _BAD_EVENT, extra=[FrozenHeader("Recv-Info", "")]))
        return
    media_type = (request.content_type or ("", {}))[0].lower()
    if request.body and media_type not in DIGIT_TYPES:
        accept = FrozenHeader("Accept", ", ".join(DIGIT_TYPES))
        endpoint.respond(transaction, response_to(request, 415, extra=[accept]))
        return
    endpoint.respond(transaction, response_to(request, 200))
    if request.body:
        post("SIPInvitationGotInfo", invitation, request, content_type=media_type, content=request.body)
