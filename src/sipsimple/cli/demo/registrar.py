"""A small SIP server for one domain on this host: registrar with digest authentication, and the way to its proxy.

Obeys RFC 3261 10.3 and 22. It is made for demonstrations and tests: its users are a table in memory, and it speaks
UDP and TCP on one address.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final

from sipsimple.cli.demo.locations import Locations, OutOfOrder
from sipsimple.cli.demo.proxy import Proxy
from sipsimple.sip.auth_server import ServerAuthenticator
from sipsimple.sip.endpoint import Endpoint
from sipsimple.sip.errors import LimitReached
from sipsimple.sip.message import Request, Response
from sipsimple.sip.transport import Destination, TransportName

DEFAULT_EXPIRES: Final = 3600
MAX_EXPIRES: Final = 7200
ALLOW: Final = "REGISTER, INVITE, ACK, CANCEL, BYE, OPTIONS, MESSAGE"


class Registrar:
    """The server of one domain; `users` maps names to passwords. To be made in the running loop.

    It is the user of its endpoint: REGISTER is answered here, everything else is the proxy's.
    """

    def __init__(self, domain: str, users: Mapping[str, str], address: str = "127.0.0.1") -> None:
        self.domain = domain
        self.address = address
        self.endpoint = Endpoint(self, user_agent="sipsimple demo registrar")
        self.locations = Locations()
        self.authenticator = ServerAuthenticator(domain, users.get, secrets.token_bytes)
        self._proxy = Proxy(self.endpoint, domain, self.locations, self.authenticator)

    async def start(self, port: int = 0, transports: tuple[TransportName, ...] = ("udp",)) -> int:
        """Listen, on one free port for all transports when `port` is 0; returns the port, raises ListenError."""
        for transport in transports:
            port = await self.endpoint.listen(transport, self.address, port)
        return port

    async def stop(self) -> None:
        """Close everything; idempotent."""
        await self.endpoint.close()

    # What the endpoint tells

    def on_request(self, transaction: Any, request: Request) -> None:
        if request.method == "REGISTER":
            self.endpoint.respond(transaction, self._register(request))
        else:
            self._proxy.take(transaction, request)

    def on_acknowledgement(self, ack: Request) -> None:
        self._proxy.take_ack(ack)

    def on_cancel(self, transaction: Any, cancel: Request) -> None:
        self._proxy.cancel(transaction)

    def on_connection_lost(self, destination: Destination, error: Exception) -> None:
        """A connection ended; the next message opens another."""

    def on_ack(self, transaction: Any, ack: Request, now: float) -> None:
        """A refusal was acknowledged; the acknowledgement goes no further (RFC 3261 16.7)."""

    def on_timeout(self, transaction: Any, now: float) -> None:
        """A response was not acknowledged; nothing depends on it."""

    def on_transport_error(self, transaction: Any, error: Exception, now: float) -> None:
        """A response could not be sent; the other party will ask again."""

    # Registration

    def _register(self, request: Request) -> Response:
        now = self.endpoint.now()
        values = request.headers.get_all("Authorization")
        verdict = self.authenticator.verify(request.method, request.body, values, now)
        if verdict.username is None:
            return self._challenge(request, verdict.stale)
        user = request.to.uri.user
        if user != verdict.username or request.to.uri.host != self.domain:
            # RFC 3261 10.3 step 4: nobody changes the contacts of others.
            return _answer(request, 403)
        try:
            refusal = self._bind(request, user, now)
        except OutOfOrder:
            return _answer(request, 500)
        except LimitReached:
            return _answer(request, 503)
        if refusal is not None:
            return refusal
        response = _answer(request, 200)
        for binding in self.locations.of(user, now):
            response.headers.add_header(self.locations.contact(binding, now))
        return response

    def _bind(self, request: Request, user: str, now: float) -> Response | None:
        number = request.cseq[0]
        default = DEFAULT_EXPIRES if request.expires is None else request.expires
        contacts = request.contacts
        if any(contact.uri is None for contact in contacts):
            if len(contacts) != 1 or default != 0:
                return _answer(request, 400)
            self.locations.clear(user)
            return None
        for contact in contacts:
            expires = default if contact.expires is None else contact.expires
            assert contact.uri is not None
            self.locations.bind(user, contact.uri, min(expires, MAX_EXPIRES), request.call_id, number, now)
        return None

    def _challenge(self, request: Request, stale: bool) -> Response:
        response = _answer(request, 401)
        for challenge in self.authenticator.challenges(self.endpoint.now(), stale):
            response.headers.add("WWW-Authenticate", challenge)
        return response


def _answer(request: Request, code: int) -> Response:
    return request.make_response(code, to_tag=secrets.token_hex(4))
