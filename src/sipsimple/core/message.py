"""One MESSAGE outside a dialog: pager-mode instant messaging (RFC 3428)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sipsimple.core.composing import destination_of
from sipsimple.core.notices import post
from sipsimple.core.readonly import ReadOnly
from sipsimple.core.request import Request
from sipsimple.core.stack import stack
from sipsimple.loop import Result
from sipsimple.notification import Notification, NotificationCenter
from sipsimple.sip.credentials import FrozenCredentials
from sipsimple.sip.headers import FrozenFromHeader, FrozenRouteHeader, FrozenToHeader
from sipsimple.sip.message import Response


class Message:
    """Sends one MESSAGE to `to_header.uri`; posts `SIPMessageDidSucceed` or `SIPMessageDidFail`."""

    def __init__(
        self,
        from_header: Any,
        to_header: Any,
        route_header: Any,
        content_type: str,
        body: bytes | str,
        credentials: Any = None,
        extra_headers: Iterable[Any] = (),
    ) -> None:
        self._request = Request(
            "MESSAGE",
            from_header,
            to_header,
            to_header.uri,
            route_header,
            credentials=credentials,
            extra_headers=extra_headers,
            content_type=content_type,
            body=body,
        )
        self._content_type = content_type
        self._is_sent = False
        self._in_progress = False

    content_type = ReadOnly[str]()
    is_sent = ReadOnly[bool]()
    in_progress = ReadOnly[bool]()

    @property
    def from_header(self) -> FrozenFromHeader:
        return self._request.from_header

    @property
    def to_header(self) -> FrozenToHeader:
        return self._request.to_header

    @property
    def route_header(self) -> FrozenRouteHeader:
        return self._request.route_header

    @property
    def credentials(self) -> FrozenCredentials | None:
        return self._request.credentials

    @property
    def body(self) -> bytes:
        return self._request.body or b""

    def send(self, timeout: float | None = None) -> Result[Response]:
        """Send it; without a final answer in `timeout` seconds it fails with 408. The result is the final 2xx.

        Raises RuntimeError when called twice, ValueError for a timeout that is not positive, SIPCoreError when the
        engine does not run or the route is no address.
        """
        if self._is_sent:
            raise RuntimeError("a Message is sent once: make another one")
        if timeout is not None and timeout <= 0:
            raise ValueError(f"a timeout is more than 0 seconds, not {timeout}")
        stack()
        destination_of(self.route_header.uri)
        self._is_sent = self._in_progress = True
        NotificationCenter().add_observer(self, sender=self._request)
        return self._request.send(timeout)

    def end(self) -> None:
        """Give up: it fails with 408, unless it is over or was never sent."""
        if self._in_progress:
            self._request.end()

    def handle_notification(self, notification: Notification) -> None:
        match notification.name:
            case "SIPRequestDidSucceed":
                self._over("SIPMessageDidSucceed", notification.data)
            case "SIPRequestDidFail":
                self._over("SIPMessageDidFail", notification.data)

    def _over(self, name: str, data: Any) -> None:
        NotificationCenter().discard_observer(self, sender=self._request)
        self._in_progress = False
        post(name, self, code=data.code, reason=data.reason)
