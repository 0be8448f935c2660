"""The end of a dialog: our BYE, and why the other side has ended it (RFC 3261 15, RFC 3326)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from sipsimple.sip.message import Request, Response

if TYPE_CHECKING:
    from sipsimple.core.client import Client
    from sipsimple.core.invitation.invitation import Invitation

_REASON_TEXT: Final = re.compile(r';\s*text\s*=\s*"((?:[^"\\]|\\.)*)"', re.IGNORECASE)


class Goodbye:
    """Waits for the answer to our BYE."""

    __slots__ = ("_invitation",)

    def __init__(self, invitation: Invitation) -> None:
        self._invitation = invitation

    def next_cseq(self) -> int:
        dialog = self._invitation._dialog
        assert dialog is not None
        return dialog.next_cseq()

    def on_provisional(self, client: Client, response: Response) -> None:
        """Nothing to do: the final answer counts."""

    def on_final(self, client: Client, response: Response) -> None:
        self._invitation._said_goodbye(response)

    def on_failure(self, client: Client, code: int, reason: str) -> None:
        self._invitation._said_goodbye(None, code, reason)


def told_reason(message: Request | Response) -> str | None:
    """The text of a Reason header (RFC 3326)."""
    value = message.headers.get("Reason")
    match = _REASON_TEXT.search(value) if value else None
    return re.sub(r"\\(.)", r"\1", match[1]) if match else None
