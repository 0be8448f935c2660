"""Who is above an endpoint."""

from __future__ import annotations

from typing import Any, Protocol

from sipsimple.sip.message import Request
from sipsimple.sip.transaction import InviteServer, ServerTransaction
from sipsimple.sip.transport import ConnectionLost, Destination


class EndpointUser(Protocol):
    """Takes what belongs to no transaction yet, or to none any more.

    It is the `ServerUser` of each new server transaction until another one is put into `transaction.user`.
    """

    def on_request(self, transaction: ServerTransaction, request: Request) -> None:
        """Take a new request, to be answered now or later with `Endpoint.respond`.

        A MalformedMessage that escapes, from a header that nobody had touched before, is answered with its status; any
        other exception with 500, and goes to the exception handler of the event loop.
        """

    def on_acknowledgement(self, ack: Request) -> None:
        """Take an ACK that belongs to no transaction: the one to a 2xx."""

    def on_cancel(self, transaction: InviteServer, cancel: Request) -> None:
        """An INVITE that has no final response yet was cancelled; answer it with 487. The CANCEL has its 200."""

    def on_connection_lost(self, destination: Destination, error: ConnectionLost) -> None:
        """A stream connection has ended, and with it a flow of RFC 5626. The transactions that it stranded know."""

    def on_ack(self, transaction: Any, ack: Request, now: float) -> None:
        """See `ServerUser`."""

    def on_timeout(self, transaction: Any, now: float) -> None:
        """See `ServerUser`."""

    def on_transport_error(self, transaction: Any, error: Exception, now: float) -> None:
        """See `ServerUser`."""
