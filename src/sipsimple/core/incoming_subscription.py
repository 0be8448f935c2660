"""A subscription of somebody else to an event package of ours (RFC 6665)."""

from __future__ import annotations

from typing import Any

from sipsimple.core.composing import check_final
from sipsimple.core.notices import post
from sipsimple.core.notifier import Notifier, granted
from sipsimple.core.readonly import ReadOnly
from sipsimple.loop import run_in_loop
from sipsimple.sip.errors import SIPCoreInvalidStateError
from sipsimple.sip.headers import FrozenHeader
from sipsimple.sip.message import Response


class IncomingSubscription(Notifier):
    """Arrives by `SIPIncomingSubscriptionGotSubscribe`, to be accepted or rejected."""

    prefix = "SIPIncomingSubscription"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._content_type: str | None = None
        self._content: bytes | None = None

    content_type = ReadOnly[str | None]()
    content = ReadOnly[bytes | None]()

    def reject(self, code: int) -> None:
        """Refuse it; raises ValueError for a code outside 300 to 699, SIPCoreInvalidStateError once it is answered."""
        check_final(code, lowest=300)
        self._claim("incoming")
        run_in_loop(self._reject, code)

    def accept_pending(self) -> None:
        """Let it wait for a decision, and say so; raises SIPCoreInvalidStateError once it is answered."""
        self._claim("incoming")
        run_in_loop(self._accept, 202, "pending")

    def accept(self, content_type: str | None = None, content: bytes | str | None = None) -> None:
        """Grant it, and notify this content; raises SIPCoreInvalidStateError when it is active or over."""
        octets = _checked(content_type, content)
        self._claim("incoming", "pending")
        run_in_loop(self._activate, content_type, octets)

    def push_content(self, content_type: str, content: bytes | str) -> None:
        """Notify new content; raises SIPCoreInvalidStateError unless it is active."""
        octets = _checked(content_type, content)
        if self._state != "active":
            raise SIPCoreInvalidStateError(f"content can be pushed when it is active, not {self._state}")
        run_in_loop(self._push, content_type, octets)

    def end(self, reason: str = "noresource") -> None:
        """End it, for a reason of RFC 6665 4.1.3; raises SIPCoreInvalidStateError when it was not accepted yet."""
        if self._state == "incoming":
            raise SIPCoreInvalidStateError("it was not accepted yet: reject() it")
        run_in_loop(self._finish, reason)

    # The work, in the loop thread

    def _accept(self, code: int, state: str) -> bool:
        duration = granted(self._request)
        if not self._reply(code, None, FrozenHeader("Expires", str(duration))):
            return False
        self._begin(state, duration)
        self._notify()
        return True

    def _activate(self, content_type: str | None, content: bytes | None) -> None:
        self._content_type, self._content = content_type, content
        if self._state == "incoming":
            self._accept(200, "active")
        elif self._state == "pending":
            self._change("active")
            self._notify()

    def _push(self, content_type: str, content: bytes) -> None:
        if self._state == "active":
            self._content_type, self._content = content_type, content
            self._notify()

    def _current(self) -> tuple[str | None, bytes]:
        # What is not authorised is not told: a pending subscription has no content (RFC 6665 4.2.1.2).
        if self._state == "pending" or not self._content:
            return None, b""
        return self._content_type, self._content

    def _answered(self, response: Response) -> None:
        post("SIPIncomingSubscriptionAnsweredSubscribe", self, response)


def _checked(content_type: str | None, content: bytes | str | None) -> bytes | None:
    if (content_type is None) != (content is None):
        raise ValueError("content_type and content have to come together")
    return content.encode() if isinstance(content, str) else content
