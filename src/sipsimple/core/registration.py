"""Keeps one binding of a contact to an address of record (RFC 3261 10.2)."""

from __future__ import annotations

from typing import Any

from sipsimple.core.composing import first_cseq, token
from sipsimple.core.notices import post
from sipsimple.core.request import Request
from sipsimple.loop import run_in_loop
from sipsimple.notification import Notification, NotificationCenter
from sipsimple.sip.auth import ClientAuthenticator
from sipsimple.sip.credentials import FrozenCredentials
from sipsimple.sip.errors import SIPCoreError
from sipsimple.sip.headers import (
    FrozenContactHeader,
    FrozenFromHeader,
    FrozenHeader,
    FrozenRouteHeader,
    FrozenToHeader,
)
from sipsimple.sip.uri import FrozenSIPURI


class Registration:
    """Registers a contact, tells before the binding ends, and removes it.

    Every REGISTER of one object has the same Call-ID and the next CSeq. A refresh is another `register()`.
    """

    def __init__(self, from_header: Any, credentials: Any = None, duration: int = 300) -> None:
        self.from_header = from_header
        self.credentials = credentials
        self.duration = duration
        self._call_id = token(12)
        self._cseq = first_cseq()
        self._authenticator = ClientAuthenticator(token)
        self._current: Request | None = None  # the one under way
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

    @property
    def is_registered(self) -> bool:
        """True while the server keeps our binding."""
        return self._last is not None

    @property
    def contact_uri(self) -> FrozenSIPURI | None:
        """The contact that is bound, None without a binding."""
        return self._last.contact_header.uri if self._last is not None else None

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
        """Remove the binding, by the route that made it; nothing to do without one."""
        run_in_loop(self._end, timeout)

    # The work, in the loop thread

    def _register(self, contact: FrozenContactHeader, route: FrozenRouteHeader, timeout: float | None) -> None:
        self._ending = False
        try:
            self._send(contact, route, self.duration, timeout)
        except SIPCoreError as error:
            post("SIPRegistrationDidFail", self, code=0, reason=str(error), route_header=route)

    def _end(self, timeout: float | None) -> None:
        last = self._last
        if last is None:
            return
        self._ending = True
        post("SIPRegistrationWillEnd", self)
        try:
            self._send(last.contact_header, last.route_header, 0, timeout)
        except SIPCoreError as error:
            post("SIPRegistrationDidNotEnd", self, code=0, reason=str(error))

    def _send(
        self, contact: FrozenContactHeader, route: FrozenRouteHeader, duration: int, timeout: float | None
    ) -> None:
        replaced, self._current = self._current, None
        if replaced is not None:
            NotificationCenter().discard_observer(self, sender=replaced)
            self._cseq = replaced.cseq
            replaced.end()
        self._cseq += 1
        sender = self._from_header
        request = self._current = Request(
            "REGISTER",
            sender,
            FrozenToHeader(sender.uri, sender.display_name),
            FrozenSIPURI(sender.uri.host, port=sender.uri.port, secure=sender.uri.secure),
            route,
            credentials=self._credentials,
            contact_header=contact,
            call_id=self._call_id,
            cseq=self._cseq,
            extra_headers=[FrozenHeader("Expires", str(duration))],
            authenticator=self._authenticator,
        )
        NotificationCenter().add_observer(self, sender=request)
        request.send(timeout)

    def handle_notification(self, notification: Notification) -> None:
        request = notification.sender
        if request is not self._current and request is not self._last:
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

    def _succeeded(self, request: Any, data: Any) -> None:
        self._current = None
        self._cseq = request.cseq
        self._forget_binding()
        if data.expires:
            self._last = request
        else:
            NotificationCenter().discard_observer(self, sender=request)
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
        )

    def _failed(self, request: Any, data: Any) -> None:
        self._current = None
        self._cseq = request.cseq
        NotificationCenter().discard_observer(self, sender=request)
        if self._ending:
            self._ending = False
            post("SIPRegistrationDidNotEnd", self, code=data.code, reason=data.reason)
            return
        if hasattr(data, "headers"):
            # The server has spoken: it may have dropped the binding, and a refresh that fails counts as its loss.
            self._forget_binding()
        post("SIPRegistrationDidFail", self, code=data.code, reason=data.reason, route_header=request.route_header)

    def _forget_binding(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            NotificationCenter().discard_observer(self, sender=last)
            last.end()
