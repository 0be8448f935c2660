"""Sends one request and answers the challenges to it (RFC 3261 8.1.3, 22)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from sipsimple.core.stack import stack
from sipsimple.core.tls import complete
from sipsimple.sip.errors import SIPCoreError
from sipsimple.sip.message import Request, Response
from sipsimple.sip.status import sip_status_messages

if TYPE_CHECKING:
    from sipsimple.sip.auth import ClientAuthenticator
    from sipsimple.sip.endpoint import Endpoint
    from sipsimple.sip.transport.address import Destination


class ClientOwner(Protocol):
    """Whoever wanted the request sent."""

    def next_cseq(self) -> int:
        """The CSeq number for a repetition with credentials."""

    def on_provisional(self, client: Client, response: Response) -> None: ...

    def on_final(self, client: Client, response: Response) -> None:
        """A final answer; for an INVITE also every further 2xx."""

    def on_failure(self, client: Client, code: int, reason: str) -> None:
        """No answer: 408 when none came in time, 503 when the request could not be sent, for `client.error`."""


class Client:
    """One request on its way, repeated with credentials when the server or a proxy asks for them."""

    __slots__ = ("_attempt", "_cancelled", "_destination", "_endpoint", "_owner", "error", "request", "transaction")

    def __init__(
        self,
        endpoint: Endpoint,
        request: Request,
        destination: Destination,
        owner: ClientOwner,
        authenticator: ClientAuthenticator,
        credentials: Any,
    ) -> None:
        self._endpoint = endpoint
        if destination.peer is not None:
            destination = complete(destination, request.from_.uri, request.uri, stack().identities)
        self._destination = destination
        self._owner: ClientOwner | None = owner
        self._attempt = authenticator.begin(credentials)
        self.request = request
        self._cancelled = False
        self.transaction: Any = None
        self.error: Exception | None = None

    def send(self) -> None:
        """Send the request; a failure is told to the owner, not raised."""
        self._authorize(self._attempt.preemptive(self.request))
        self._transmit()

    @property
    def destination(self) -> Destination:
        """Where it goes."""
        return self._destination

    def abandon(self) -> None:
        """Forget the owner: whatever comes back is of no interest any more."""
        self._owner = None

    def cancel(self, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Withdraw an INVITE; the CANCEL waits for a provisional response (RFC 3261 9.1)."""
        self._cancelled = True
        if self.transaction is not None:
            self._endpoint.cancel(self.transaction, headers)

    def _transmit(self) -> None:
        try:
            self.transaction = self._endpoint.send_request(self.request, self._destination, self)
        except SIPCoreError as error:
            self.error = error
            self._fail(503, str(error))

    def _authorize(self, headers: list[tuple[str, str]]) -> None:
        self.request.headers.remove("Authorization")
        self.request.headers.remove("Proxy-Authorization")
        for name, value in headers:
            self.request.headers.add(name, value)

    def _repeat(self, headers: list[tuple[str, str]], owner: ClientOwner) -> None:
        old = self.request
        fields = old.headers.copy()
        fields.remove("Via")
        fields.set("CSeq", f"{owner.next_cseq()} {old.method}")
        self.request = Request(old.method, old.raw_uri, fields, old.body)
        self._authorize(headers)
        self._transmit()

    def _fail(self, code: int, reason: str) -> None:
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.on_failure(self, code, reason)

    # What the transaction tells

    def on_response(self, transaction: Any, response: Response, now: float) -> None:
        owner = self._owner
        if owner is None or transaction.request.cseq != self.request.cseq:
            return
        if response.code < 200:
            owner.on_provisional(self, response)
            return
        if response.code in (401, 407) and not self._cancelled:
            headers = self._attempt.authorize(self.request, response)
            if headers is not None:
                self._repeat(headers, owner)
                return
        elif response.code < 300:
            self._attempt.confirm(response)
        if response.code >= 300 or self.request.method != "INVITE":
            self._owner = None
        owner.on_final(self, response)

    def on_timeout(self, transaction: Any, now: float) -> None:
        self._fail(408, sip_status_messages[408])

    def on_transport_error(self, transaction: Any, error: Exception, now: float) -> None:
        self.error = error
        self._fail(503, f"{sip_status_messages[503]} ({error})")
