"""A stateful proxy for one domain: finds the callee in the location table and stays on the path of the dialog.

Obeys RFC 3261 16, for a proxy that never forks. Who calls from outside a dialog has to authenticate (22.3).

Deviation: the Via headers of the caller do not travel on (16.6 step 8). They stay in the server transaction, and its
responses get them back, so the caller sees no difference; the endpoint below belongs to a user agent and takes
responses with one Via only.
"""

from __future__ import annotations

import secrets
from typing import Any, Final

from sipsimple.cli.demo.locations import Locations
from sipsimple.sip.auth_server import ServerAuthenticator
from sipsimple.sip.endpoint import Endpoint
from sipsimple.sip.errors import LimitReached, MalformedMessage, SIPCoreError, TransportError
from sipsimple.sip.message import Headers, Request, Response
from sipsimple.sip.transport import DEFAULT_PORTS, Destination, TransportName
from sipsimple.sip.transport.address import bare_host, is_ip_literal, same_host, uri_host
from sipsimple.sip.uri import FrozenSIPURI

MAX_FORWARDS: Final = 70

_TRANSPORTS: Final[dict[str, TransportName]] = {"udp": "udp", "tcp": "tcp"}
_OURS: Final = frozenset({"Via", "Route", "Max-Forwards", "Proxy-Authorization", "Content-Length"})


class NoWay(Exception):
    """A request cannot be forwarded; `code` answers it."""

    def __init__(self, code: int) -> None:
        super().__init__(f"answered with {code}")
        self.code = code


class Proxy:
    """Forwards the requests that an endpoint receives."""

    def __init__(
        self, endpoint: Endpoint, domain: str, locations: Locations, authenticator: ServerAuthenticator
    ) -> None:
        self._endpoint = endpoint
        self._domain = domain
        self._locations = locations
        self._authenticator = authenticator
        self._calls: dict[Any, _Forwarding] = {}

    def take(self, transaction: Any, request: Request) -> None:
        """Forward a request, or answer it when it goes no further."""
        try:
            if request.max_forwards == 0:
                raise NoWay(483)
            if request.to.tag is None and not self._knows_caller(transaction, request):
                return
            forwarded, destination = self._prepare(request)
        except NoWay as error:
            self._answer(transaction, error.code)
            return
        if request.method == "INVITE":
            # RFC 3261 16.2: the caller shall not repeat the request while the callee is looked for.
            self._endpoint.respond(transaction, request.make_response(100))
        forwarding = _Forwarding(self._endpoint, transaction)
        try:
            forwarding.client = self._endpoint.send_request(forwarded, destination, forwarding)
        except (TransportError, LimitReached):
            self._answer(transaction, 503)
            return
        if request.method == "INVITE":
            self._calls[transaction] = forwarding
            forwarding.on_end = lambda: self._calls.pop(transaction, None)

    def take_ack(self, ack: Request) -> None:
        """Forward the ACK to a 2xx; one that cannot be forwarded is dropped, for nothing answers an ACK."""
        try:
            forwarded, destination = self._prepare(ack)
            self._endpoint.send_stateless(forwarded, destination)
        except (NoWay, MalformedMessage, TransportError):
            self._endpoint.statistics.stray_acks += 1

    def cancel(self, transaction: Any) -> None:
        """Pass a CANCEL on; the 487 that it brings comes back as any other response."""
        forwarding = self._calls.get(transaction)
        if forwarding is not None:
            try:
                self._endpoint.cancel(forwarding.client)
            except SIPCoreError:
                # The final response is here already, and on its way to the caller.
                return

    def _knows_caller(self, transaction: Any, request: Request) -> bool:
        """Whether the credentials are right; if not the request is answered with a challenge."""
        now = self._endpoint.now()
        values = request.headers.get_all("Proxy-Authorization")
        verdict = self._authenticator.verify(request.method, request.body, values, now)
        if verdict.username is not None:
            return True
        response = request.make_response(407, to_tag=secrets.token_hex(4))
        for challenge in self._authenticator.challenges(now, verdict.stale):
            response.headers.add("Proxy-Authenticate", challenge)
        self._endpoint.respond(transaction, response)
        return False

    def _prepare(self, request: Request) -> tuple[Request, Destination]:
        """The request as it goes on, and where to (RFC 3261 16.4 to 16.6); raises NoWay."""
        routes = list(request.routes)
        if routes and self._is_ours(routes[0].uri):
            routes.pop(0)
        target = request.uri
        if target.host == self._domain:
            target = self._callee(target)
        hop = routes[0].uri if routes else target
        headers = Headers()
        if request.method == "INVITE":
            headers.add("Record-Route", f"<{self._own_uri(hop)}>")
        for route in routes:
            headers.add("Route", route.body)
        left = MAX_FORWARDS if request.max_forwards is None else request.max_forwards
        headers.add("Max-Forwards", str(left - 1))
        for name, value in request.headers:
            if name not in _OURS:
                headers.add(name, value)
        return Request(request.method, target, headers, request.body), _destination(hop)

    def _callee(self, uri: FrozenSIPURI) -> FrozenSIPURI:
        bindings = self._locations.of(uri.user or "", self._endpoint.now())
        if not bindings:
            raise NoWay(480)
        return bindings[0].uri

    def _is_ours(self, uri: FrozenSIPURI) -> bool:
        transport = uri.parameters.get("transport") or "udp"
        local = self._endpoint.local_address(_TRANSPORTS.get(transport.lower(), "udp"))
        return local is not None and same_host(uri.host, local[0]) and (uri.port or 5060) == local[1]

    def _own_uri(self, towards: FrozenSIPURI) -> str:
        destination = _destination(towards)
        local = self._endpoint.local_address(destination.transport, destination.host)
        if local is None:
            raise NoWay(503)
        transport = "" if destination.transport == "udp" else f";transport={destination.transport}"
        return f"sip:{uri_host(local[0])}:{local[1]}{transport};lr"

    def _answer(self, transaction: Any, code: int) -> None:
        self._endpoint.respond(transaction, transaction.request.make_response(code, to_tag=secrets.token_hex(4)))


class _Forwarding:
    """One request on its way: what comes back for it goes to where it came from."""

    def __init__(self, endpoint: Endpoint, server: Any) -> None:
        self._endpoint = endpoint
        self._server = server
        self._request: Request = server.request
        self.client: Any = None
        self.on_end: Any = None

    def on_response(self, transaction: Any, response: Response, now: float) -> None:
        if response.code == 100:
            return  # RFC 3261 16.7 step 5: it says something about one hop only
        headers = Headers()
        for via in self._request.headers.get_all("Via"):
            headers.add("Via", via)
        for name, value in response.headers:
            if name not in ("Via", "Content-Length"):
                headers.add(name, value)
        self._respond(Response(response.code, response.reason, headers, response.body))

    def on_timeout(self, transaction: Any, now: float) -> None:
        if self._request.method == "INVITE":
            self._respond(self._request.make_response(408, to_tag=secrets.token_hex(4)))

    def on_transport_error(self, transaction: Any, error: Exception, now: float) -> None:
        self._respond(self._request.make_response(503, to_tag=secrets.token_hex(4)))

    def _respond(self, response: Response) -> None:
        if response.code >= 200 and self.on_end is not None:
            self.on_end()
        try:
            self._endpoint.respond(self._server, response)
        except SIPCoreError:
            # The caller's transaction has ended: it has given up, and wants no answer.
            self._endpoint.statistics.unanswerable += 1


def _destination(uri: FrozenSIPURI) -> Destination:
    host = bare_host(uri.host)
    transport = _TRANSPORTS.get((uri.parameters.get("transport") or "udp").lower())
    if transport is None or uri.secure or not is_ip_literal(host):
        # Names are not resolved here: everybody in the domain is reached by address.
        raise NoWay(404)
    return Destination(transport, host, uri.port or DEFAULT_PORTS[transport])
