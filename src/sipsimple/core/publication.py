"""Keeps one piece of event state at its server (RFC 3903)."""

from __future__ import annotations

from typing import Any

from sipsimple.core.composing import destination_of
from sipsimple.core.notices import post
from sipsimple.core.readonly import ReadOnly
from sipsimple.core.request import Request
from sipsimple.core.sequence import RequestSequence
from sipsimple.core.stack import stack
from sipsimple.loop import run_in_loop
from sipsimple.notification import Notification
from sipsimple.sip.credentials import FrozenCredentials
from sipsimple.sip.headers import FrozenFromHeader, FrozenHeader, FrozenRouteHeader


class PublicationError(Exception):
    """There is nothing at the server that could be refreshed or removed."""


class Publication:
    """Publishes, refreshes, modifies and removes the state of one event package; see `SIPPublication...`.

    The server names what it keeps by an entity tag; with each answer that name changes.
    """

    def __init__(
        self, from_header: Any, event: str, content_type: str, credentials: Any = None, duration: int = 300
    ) -> None:
        if duration <= 0:
            raise ValueError(f"a duration is more than 0 seconds, not {duration}")
        self._from_header = FrozenFromHeader.new(from_header)
        self._event = event
        self._content_type = content_type
        self._credentials = None if credentials is None else FrozenCredentials.new(credentials)
        self._duration = duration
        self._sequence = RequestSequence(self)
        self._last: Request | None = None  # the one whose state the server keeps
        self._entity_tag: str | None = None
        self._lost = False
        self._ending = False

    from_header = ReadOnly[FrozenFromHeader]()
    event = ReadOnly[str]()
    content_type = ReadOnly[str]()
    credentials = ReadOnly[FrozenCredentials | None]()
    duration = ReadOnly[int]()

    @property
    def is_published(self) -> bool:
        """True while the server keeps our state."""
        return self._last is not None

    @property
    def expires_in(self) -> int:
        """Seconds until the server forgets; 0 when it keeps nothing."""
        return self._last.expires_in if self._last is not None else 0

    def publish(self, body: bytes | str | None, route_header: Any, timeout: float | None = None) -> None:
        """Publish this body by this route, in the place of the last one; None refreshes the last one.

        Raises ValueError when there is nothing to refresh, PublicationError when the server has lost it (412), and
        SIPCoreError when it cannot be sent. A request in progress is replaced.
        """
        route = FrozenRouteHeader.new(route_header)
        if body is None and self._entity_tag is None:
            if self._lost:
                raise PublicationError("the server does not keep it any more: publish it again, with its body")
            raise ValueError("there is nothing to refresh: the first publish() needs a body")
        self._check(route, timeout)
        run_in_loop(self._send, body, route, self._duration, timeout)

    def end(self, timeout: float | None = None) -> None:
        """Remove what was published, by the last route; raises PublicationError when nothing is."""
        last = self._last
        if last is None:
            raise PublicationError("nothing is published")
        self._check(last.route_header, timeout)
        run_in_loop(self._end, last.route_header, timeout)

    @staticmethod
    def _check(route: FrozenRouteHeader, timeout: float | None) -> None:
        if timeout is not None and timeout <= 0:
            raise ValueError(f"a timeout is more than 0 seconds, not {timeout}")
        stack()
        destination_of(route.uri)

    # The work, in the loop thread

    def _end(self, route: FrozenRouteHeader, timeout: float | None) -> None:
        self._send(None, route, 0, timeout)
        self._ending = True
        post("SIPPublicationWillEnd", self)

    def _send(self, body: bytes | str | None, route: FrozenRouteHeader, duration: int, timeout: float | None) -> None:
        self._ending = False
        headers = [FrozenHeader("Event", self._event), FrozenHeader("Expires", str(duration))]
        if self._entity_tag is not None:
            headers.append(FrozenHeader("SIP-If-Match", self._entity_tag))
        self._sequence.send(
            "PUBLISH",
            self._from_header,
            self._from_header.uri,
            route,
            timeout,
            credentials=self._credentials,
            extra_headers=headers,
            content_type=None if body is None else self._content_type,
            body=body,
        )

    def handle_notification(self, notification: Notification) -> None:
        request: Any = notification.sender
        match notification.name:
            case "SIPRequestDidSucceed" if request is self._sequence.current:
                self._succeeded(request, notification.data)
            case "SIPRequestDidFail" if request is self._sequence.current:
                self._failed(request, notification.data)
            case "SIPRequestWillExpire" if request is self._last:
                post("SIPPublicationWillExpire", self, expires=notification.data.expires)
            case "SIPRequestDidEnd" if request is self._last:
                self._forget()
                post("SIPPublicationDidEnd", self, expired=True)

    def _succeeded(self, request: Any, data: Any) -> None:
        self._sequence.settled(request)
        self._forget()
        if self._ending or not data.expires:
            self._sequence.release(request)
            request.end()
        else:
            self._last = request
            self._entity_tag = data.headers["SIP-ETag"].body if "SIP-ETag" in data.headers else None
            self._lost = self._entity_tag is None
        if self._ending:
            self._ending = False
            post("SIPPublicationDidEnd", self, expired=False)
            return
        post(
            "SIPPublicationDidSucceed",
            self,
            code=data.code,
            reason=data.reason,
            expires_in=data.expires,
            route_header=request.route_header,
        )

    def _failed(self, request: Any, data: Any) -> None:
        self._sequence.settled(request)
        self._sequence.release(request)
        if data.code == 412:
            self._forget()
        if self._ending:
            self._ending = False
            post("SIPPublicationDidNotEnd", self, code=data.code, reason=data.reason)
            return
        post("SIPPublicationDidFail", self, code=data.code, reason=data.reason, route_header=request.route_header)

    def _forget(self) -> None:
        """The server keeps nothing of ours, or keeps something newer."""
        self._lost = self._lost or self._entity_tag is not None
        self._entity_tag = None
        last, self._last = self._last, None
        if last is not None:
            self._sequence.release(last)
            last.end()
