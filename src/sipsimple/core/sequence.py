"""The requests that keep one thing at a server: one Call-ID, rising CSeq numbers, one request at a time.

A registration refreshes its binding, a publication its state; for the server they are the same user agent because
Call-ID and CSeq go on (RFC 3261 10.2, RFC 3903 4.1), and an authenticator that goes on spares the next challenge.
"""

from __future__ import annotations

from typing import Any

from sipsimple.core.composing import first_cseq, token
from sipsimple.core.request import Request
from sipsimple.notification import NotificationCenter
from sipsimple.sip.auth import ClientAuthenticator
from sipsimple.sip.headers import FrozenFromHeader, FrozenToHeader


class RequestSequence:
    """Sends one request after the other for `owner`, which observes each until it lets go of it."""

    def __init__(self, owner: Any) -> None:
        self._owner = owner
        self._call_id = token(12)
        self._cseq = first_cseq()
        self._authenticator = ClientAuthenticator(token)
        self.current: Request | None = None
        """The request that is under way."""

    def send(
        self, method: str, sender: FrozenFromHeader, uri: Any, route: Any, timeout: float | None, **more: Any
    ) -> None:
        """Send the next request, to `sender` itself; one that is under way is given up, and tells nothing any more."""
        replaced, self.current = self.current, None
        if replaced is not None:
            self.release(replaced)
            self._cseq = replaced.cseq
            replaced.end()
        self._cseq += 1
        request = self.current = Request(
            method,
            sender,
            FrozenToHeader(sender.uri, sender.display_name),
            uri,
            route,
            call_id=self._call_id,
            cseq=self._cseq,
            authenticator=self._authenticator,
            **more,
        )
        NotificationCenter().add_observer(self._owner, sender=request)
        request.send(timeout)

    def settled(self, request: Request) -> None:
        """The present request was answered, perhaps after a repetition that took numbers of its own."""
        self.current = None
        self._cseq = request.cseq

    def release(self, request: Request) -> None:
        """Have nothing more to do with a request."""
        NotificationCenter().discard_observer(self._owner, sender=request)
