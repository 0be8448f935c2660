"""Keeps one binding of a contact to an address of record (RFC 3261 10.2).

With an instance-id it asks for a flow (RFC 5626); Path (RFC 3327) is supported, Service-Route (RFC 3608) remembered.
"""

from __future__ import annotations

from typing import Any

from sipsimple.core.notices import post
from sipsimple.core.outbound import Flow, marked, seen_address, service_route
from sipsimple.core.request import Request
from sipsimple.core.sequence import RequestSequence
from sipsimple.loop import run_in_loop
from sipsimple.notification import Notification
from sipsimple.sip.credentials import FrozenCredentials
from sipsimple.sip.errors import SIPCoreError
from sipsimple.sip.headers import (
    FrozenContactHeader,
    FrozenFromHeader,
    FrozenHeader,
    FrozenRouteHeader,
)
from sipsimple.sip.transport import Address
from sipsimple.sip.uri import FrozenSIPURI


class Registration:
    """Registers a contact, tells before the binding ends, and removes it.

    Every REGISTER of one object has the same Call-ID and the next CSeq. A refresh is another `register()`.
    `SIPRegistrationDidLoseFlow` tells that the connection has ended by which the server reaches the contact; another
    `register()` makes a new one.
    """

    def __init__(
        self, from_header: Any, credentials: Any = None, duration: int = 300, *, instance_id: str | None = None
    ) -> None:
        """`instance_id` is the URN of this installation; without one no flow is asked for."""
        self.from_header = from_header
        self.credentials = credentials
        self.duration = duration
        self.instance_id = instance_id
        self.service_route: list[FrozenRouteHeader] = []
        self.public_address: Address | None = None
        self._flow: Flow | None = None
        self._minimum = 0  # the shortest duration that the server takes
        self._refused: set[int] = set()  # the codes after which the present request was repeated
        self._contact: FrozenContactHeader  # of the present request, as it was given
        self._timeout: float | None = None  # of the present request
        self._first_hop_is_old = False
        self._sequence = RequestSequence(self)
        self._last: Request | None = None  # the one that made the binding
        self._ending = False

    @property
    def from_header(self) -> Any:
        """Whose contact it is: a FrozenFromHeader; any From may be assigned."""
        return self._from_header

    @from_header.setter
    def from_header(self, value: Any) -> None:
        self._from_header = FrozenFromHeader.new(value)

    @property
    def credentials(self) -> Any:
        """Who answers for it: FrozenCredentials or None; any Credentials may be assigned."""
        return self._credentials

    @credentials.setter
    def credentials(self, value: Any) -> None:
        self._credentials = None if value is None else FrozenCredentials.new(value)

    service_route: list[FrozenRouteHeader]
    """The proxies that other requests of this user should pass, in order."""
    public_address: Address | None
    """The address and port that the server saw our last REGISTER come from, None when it did not say."""

    @property
    def is_registered(self) -> bool:
        """True while the server keeps our binding."""
        return self._last is not None

    @property
    def is_pending(self) -> bool:
        """True while a REGISTER waits for its answer: the server may have taken it all the same."""
        return self._sequence.current is not None

    @property
    def contact_uri(self) -> FrozenSIPURI | None:
        """The contact that is bound, None without a binding."""
        contact = self._last.contact_header if self._last is not None else None
        return contact.uri if contact is not None else None

    @property
    def expires_in(self) -> int:
        """Seconds until the binding ends by itself; 0 without one."""
        return self._last.expires_in if self._last is not None else 0

    def register(self, contact_header: Any, route_header: Any, timeout: float | None = None) -> None:
        """Send a REGISTER by this route; a request in progress is replaced. Errors come as `SIPRegistrationDidFail`."""
        contact = FrozenContactHeader.new(contact_header)
        route = FrozenRouteHeader.new(route_header)
        run_in_loop(self._register, contact, route, timeout)

    def end(self, timeout: float | None = None) -> None:
        """Remove the binding, be it only asked for so far, by the route that made it; without one do nothing."""
        run_in_loop(self._end, timeout)

    # The work, in the loop thread

    def _register(self, contact: FrozenContactHeader, route: FrozenRouteHeader, timeout: float | None) -> None:
        self._ending = False
        self._refused.clear()
        try:
            self._send(contact, route, max(self.duration, self._minimum), timeout)
        except SIPCoreError as error:
            post("SIPRegistrationDidFail", self, code=0, reason=str(error), route_header=route)

    def _end(self, timeout: float | None) -> None:
        last = self._last or self._sequence.current
        if last is None or last.contact_header is None:
            return
        self._ending = True
        self._refused.clear()
        post("SIPRegistrationWillEnd", self)
        try:
            self._send(last.contact_header, last.route_header, 0, timeout)
        except SIPCoreError as error:
            post("SIPRegistrationDidNotEnd", self, code=0, reason=str(error))

    def _send(
        self, contact: FrozenContactHeader, route: FrozenRouteHeader, duration: int, timeout: float | None
    ) -> None:
        self._contact, self._timeout = contact, timeout
        sender = self._from_header
        extra = [FrozenHeader("Expires", str(duration))]
        if self.instance_id is None or self._first_hop_is_old or _transport_of(route) == "udp":
            extra.append(FrozenHeader("Supported", "path"))
        else:
            extra.append(FrozenHeader("Supported", "path, outbound"))
            contact = marked(contact, self.instance_id)
        self._sequence.send(
            "REGISTER",
            sender,
            FrozenSIPURI(sender.uri.host, port=sender.uri.port, secure=sender.uri.secure),
            route,
            timeout,
            credentials=self._credentials,
            contact_header=contact,
            extra_headers=extra,
        )

    def handle_notification(self, notification: Notification) -> None:
        request = notification.sender
        if not isinstance(request, Request) or request not in (self._sequence.current, self._last):
            return
        match notification.name:
            case "SIPRequestDidSucceed":
                self._succeeded(request, notification.data)
            case "SIPRequestDidFail":
                self._failed(request, notification.data)
            case "SIPRequestWillExpire" if request is self._last:
                post("SIPRegistrationWillExpire", self, expires=notification.data.expires)
            case "SIPRequestDidEnd" if request is self._last:
                self._forget_binding()
                post("SIPRegistrationDidEnd", self, expired=True)

    def _succeeded(self, request: Request, data: Any) -> None:
        self._sequence.settled(request)
        self._forget_binding()
        if data.expires:
            self._last = request
            self._learn(request)
        else:
            self._sequence.release(request)
        if self._ending:
            self._ending = False
            post("SIPRegistrationDidEnd", self, expired=False)
            return
        post(
            "SIPRegistrationDidSucceed",
            self,
            code=data.code,
            reason=data.reason,
            contact_header=request.contact_header,
            contact_header_list=data.headers.get("Contact", []),
            expires_in=data.expires,
            route_header=request.route_header,
            service_route=list(self.service_route),
            public_address=self.public_address,
        )

    def _learn(self, request: Request) -> None:
        """Take from the answer what it says beside the binding."""
        response, destination = request.response, request.destination
        assert response is not None
        assert destination is not None
        self.service_route = service_route(response)
        self.public_address = seen_address(response)
        self._flow = Flow(destination, response, self._lost_flow)

    def _lost_flow(self, error: Exception) -> None:
        self._flow = None
        post("SIPRegistrationDidLoseFlow", self, reason=str(error))

    def _failed(self, request: Request, data: Any) -> None:
        self._sequence.settled(request)
        self._sequence.release(request)
        if self._ending:
            self._ending = False
            post("SIPRegistrationDidNotEnd", self, code=data.code, reason=data.reason)
            return
        if self._repeated(request, data):
            return
        if hasattr(data, "headers"):
            # The server has spoken: it may have dropped the binding, and a refresh that fails counts as its loss.
            self._forget_binding()
        post(
            "SIPRegistrationDidFail",
            self,
            code=data.code,
            reason=data.reason,
            route_header=request.route_header,
            retry_after=_retry_after(data),
        )

    def _repeated(self, request: Request, data: Any) -> bool:
        """Send the request again, once, where the server says how it would take it (RFC 3261 10.3, RFC 5626 4.2.1)."""
        if data.code in self._refused or request.contact_header is None:
            return False
        if data.code == 423:
            minimum = data.headers.get("Min-Expires")
            if minimum is None or minimum <= self.duration:
                return False
            self._minimum = minimum
        elif data.code == 439:
            self._first_hop_is_old = True
        else:
            return False
        self._refused.add(data.code)
        try:
            self._send(self._contact, request.route_header, max(self.duration, self._minimum), self._timeout)
        except SIPCoreError:
            return False
        return True

    def _forget_binding(self) -> None:
        last, self._last = self._last, None
        flow, self._flow = self._flow, None
        if flow is not None:
            flow.close()
        if last is not None:
            self._sequence.release(last)
            last.end()


def _retry_after(data: Any) -> int | None:
    """The seconds that the server wants to be left alone."""
    header = data.headers.get("Retry-After") if hasattr(data, "headers") else None
    return header.seconds if header is not None else None


def _transport_of(route: FrozenRouteHeader) -> str:
    return "tls" if route.uri.secure else str(route.uri.parameters.get("transport") or "udp").lower()
