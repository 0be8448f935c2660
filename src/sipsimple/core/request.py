"""One outgoing request outside a dialog, with authentication and the tracking of what it made expire."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, ClassVar

from sipsimple.core.client import Client
from sipsimple.core.composing import (
    checked_extra,
    compose_request,
    destination_of,
    first_cseq,
    tagged,
    token,
)
from sipsimple.core.notices import post
from sipsimple.core.readonly import ReadOnly
from sipsimple.core.stack import stack
from sipsimple.loop import Result, bound_loop, run_in_loop
from sipsimple.sip.auth import ClientAuthenticator
from sipsimple.sip.credentials import FrozenCredentials
from sipsimple.sip.errors import MalformedMessage, SIPCoreError
from sipsimple.sip.frozen import frozenlist
from sipsimple.sip.headers import FrozenContactHeader, FrozenFromHeader, FrozenRouteHeader, FrozenToHeader
from sipsimple.sip.message import Response
from sipsimple.sip.status import sip_status_messages
from sipsimple.sip.transport import Destination
from sipsimple.sip.uri import FrozenSIPURI


class Request:
    """Sends a request and follows it: `INIT` -> `IN_PROGRESS` -> (`EXPIRING` ->) `TERMINATED`.

    `SIPRequestDidSucceed` carries `expires`, the seconds for which the server keeps what the request made (0: nothing);
    `SIPRequestWillExpire` comes `expire_warning_time` seconds before, `SIPRequestDidEnd` when nothing more will come.
    An authenticator may be shared by the requests of one registration, so that the next one is not challenged again.
    """

    expire_warning_time: ClassVar[int] = 30

    def __init__(
        self,
        method: str,
        from_header: Any,
        to_header: Any,
        request_uri: Any,
        route_header: Any,
        credentials: Any = None,
        contact_header: Any = None,
        call_id: str | None = None,
        cseq: int | None = None,
        extra_headers: Any = None,
        content_type: str | None = None,
        body: bytes | str | None = None,
        *,
        authenticator: ClientAuthenticator | None = None,
    ) -> None:
        if (content_type is None) != (body is None):
            raise ValueError("content_type and body have to come together")
        if cseq is not None and cseq < 0:
            raise ValueError(f"a CSeq number is not negative: {cseq}")
        sender = FrozenFromHeader.new(from_header)
        if sender.tag is None:
            sender = tagged(sender, token())
        self._method = method.upper()
        self._from_header = sender
        self._to_header = FrozenToHeader.new(to_header)
        self._request_uri = FrozenSIPURI.new(request_uri)
        self._route_header = FrozenRouteHeader.new(route_header)
        self._credentials = None if credentials is None else FrozenCredentials.new(credentials)
        self._contact_header = None if contact_header is None else FrozenContactHeader.new(contact_header)
        self._call_id = call_id or token(12)
        self._cseq = first_cseq() if cseq is None else cseq
        self._extra_headers = frozenlist(checked_extra(extra_headers, ("Content-Type", "User-Agent")))
        self._content_type = content_type
        self._body = body.encode() if isinstance(body, str) else body
        self._authenticator = authenticator or ClientAuthenticator(token)
        self._state = "INIT"
        self._client: Client | None = None
        self._response: Response | None = None
        self._destination: Destination | None = None
        self._timeout: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._expires_at = 0.0
        self._outcome: Result[Response] = Result()

    method = ReadOnly[str]()
    from_header = ReadOnly[FrozenFromHeader]()
    to_header = ReadOnly[FrozenToHeader]()
    request_uri = ReadOnly[FrozenSIPURI]()
    route_header = ReadOnly[FrozenRouteHeader]()
    credentials = ReadOnly[FrozenCredentials | None]()
    contact_header = ReadOnly[FrozenContactHeader | None]()
    call_id = ReadOnly[str]()
    cseq = ReadOnly[int]()
    extra_headers = ReadOnly[frozenlist[Any]]()
    content_type = ReadOnly[str | None]()
    body = ReadOnly[bytes | None]()
    state = ReadOnly[str]()
    response = ReadOnly[Response | None]()
    """The final answer, None without one."""
    destination = ReadOnly[Destination | None]()
    """Where it was sent, None before that."""

    @property
    def expires_in(self) -> int:
        """Seconds until the server forgets; 0 unless the state is `EXPIRING`."""
        return max(0, round(self._expires_at - bound_loop().time())) if self._state == "EXPIRING" else 0

    def send(self, timeout: float | None = None) -> Result[Response]:
        """Send it; without a final answer in `timeout` seconds it fails with 408.

        The result is the final 2xx, or raises SIPCoreError. Raises SIPCoreError when it was sent before.
        """
        if self._state != "INIT":
            raise SIPCoreError(f"Request.send() needs the state INIT, this one is {self._state}")
        if timeout is not None and timeout <= 0:
            raise ValueError(f"a timeout is more than 0 seconds, not {timeout}")
        self._state = "IN_PROGRESS"
        self._timeout = timeout
        run_in_loop(self._send)
        return self._outcome

    def end(self) -> None:
        """Give up: `IN_PROGRESS` fails with 408, `EXPIRING` ends; otherwise nothing."""
        run_in_loop(self._end)

    # The work, in the loop thread

    def _send(self) -> None:
        try:
            destination = destination_of(self._route_header.uri)
        except SIPCoreError as error:
            self._fail(503, str(error))
            return
        request = compose_request(
            self._method,
            self._request_uri,
            from_header=self._from_header,
            to_header=self._to_header,
            call_id=self._call_id,
            cseq=self._cseq,
            contact=self._contact_header,
            route=self._route_header,
            extra=self._extra_headers,
            content_type=self._content_type,
            body=self._body or b"",
        )
        self._client = Client(stack().endpoint, request, destination, self, self._authenticator, self._credentials)
        self._destination = self._client.destination
        self._arm(self._timeout, self._timed_out)
        self._client.send()

    def _end(self) -> None:
        if self._state == "IN_PROGRESS":
            self._timed_out()
        elif self._state == "EXPIRING":
            self._finish()

    def _arm(self, delay: float | None, function: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if delay is None else bound_loop().call_later(delay, function)

    def _timed_out(self) -> None:
        if self._client is not None:
            self._client.abandon()
        self._fail(408, sip_status_messages[408])

    def _fail(self, code: int, reason: str, response: Response | None = None, error: Exception | None = None) -> None:
        if self._state == "TERMINATED":
            return
        self._state = "TERMINATED"
        self._arm(None, None)
        self._client = None
        failure = SIPCoreError(f"{self._method} failed: {code} {reason}")
        failure.__cause__ = error
        self._outcome.set_exception(failure)
        if response is None:
            post("SIPRequestDidFail", self, code=code, reason=reason)
        else:
            post("SIPRequestDidFail", self, response)

    def _succeed(self, response: Response) -> None:
        self._client = None
        expires = self._granted(response)
        self._state = "EXPIRING" if expires else "TERMINATED"
        self._expires_at = bound_loop().time() + expires
        if expires:
            # 600 s: warned at 570 s; a short life is told at its half at the earliest.
            warning = max(1, expires - self.expire_warning_time, expires / 2)
            self._arm(warning, self._warn)
        else:
            self._arm(None, None)
        post("SIPRequestDidSucceed", self, response, expires=expires)
        self._outcome.set_result(response)
        if not expires:
            post("SIPRequestDidEnd", self)

    def _warn(self) -> None:
        remaining = max(0.0, self._expires_at - bound_loop().time())
        self._arm(remaining, self._finish)
        post("SIPRequestWillExpire", self, expires=round(remaining))

    def _finish(self) -> None:
        if self._state != "TERMINATED":
            self._state = "TERMINATED"
            self._arm(None, None)
            post("SIPRequestDidEnd", self)

    def _granted(self, response: Response) -> int:
        """For how long: our Contact in the answer, else its Expires, else what we asked for (RFC 3261 10.2.4)."""
        try:
            ours = self._contact_header
            for contact in response.contacts if ours is not None else ():
                if contact.expires is not None and ours is not None and _same_contact(contact.uri, ours.uri):
                    return int(contact.expires)
            if response.expires is not None:
                return int(response.expires)
        except MalformedMessage:
            pass  # an unreadable answer grants what was asked for
        for header in self._extra_headers:
            if header.name.lower() == "expires" and header.body.isdigit():
                return int(header.body)
        return 0

    # What the client tells

    def next_cseq(self) -> int:
        self._cseq += 1
        self._arm(self._timeout, self._timed_out)
        return self._cseq

    def on_provisional(self, client: Client, response: Response) -> None:
        post("SIPRequestGotProvisionalResponse", self, response)

    def on_final(self, client: Client, response: Response) -> None:
        if self._state != "IN_PROGRESS":
            return
        self._response = response
        self._learn_tag(response)
        if response.code < 300:
            self._succeed(response)
        else:
            self._fail(response.code, response.reason, response)

    def on_failure(self, client: Client, code: int, reason: str) -> None:
        self._fail(code, reason, error=client.error)

    def _learn_tag(self, response: Response) -> None:
        # Where it cannot be read, our own To is as good.
        with suppress(MalformedMessage):
            self._to_header = response.to


def _same_contact(theirs: Any, ours: Any) -> bool:
    """Servers add parameters to a Contact; user, host and port are what makes it ours."""
    return (theirs.user, theirs.host, theirs.port) == (ours.user, ours.host, ours.port)
