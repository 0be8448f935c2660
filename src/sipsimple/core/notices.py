"""Notifications of the core: each has a timestamp, and those about a SIP message have its parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sipsimple.notification import NotificationCenter, TimestampedNotificationData
from sipsimple.sip.message import Request, Response
from sipsimple.sip.notice import notification_headers


def post(name: str, sender: object, message: Request | Response | None = None, **attributes: Any) -> None:
    """Post a notification; `message` adds headers, body and what its kind of message has."""
    if message is not None:
        attributes.update(message_attributes(message))
    NotificationCenter().post_notification(name, sender, TimestampedNotificationData(**attributes))


def message_attributes(message: Request | Response) -> dict[str, Any]:
    attributes: dict[str, Any] = {"headers": LazyHeaders(message), "body": message.body or None}
    if isinstance(message, Request):
        attributes["method"] = message.method
        attributes["request_uri"] = message.uri
    else:
        attributes["code"] = message.code
        attributes["reason"] = message.reason
    return attributes


class LazyHeaders(Mapping[str, Any]):
    """The headers of a message by name, parsed when somebody looks: most notifications are never read that far."""

    __slots__ = ("_headers", "_message")

    def __init__(self, message: Request | Response) -> None:
        self._message = message
        self._headers: dict[str, Any] | None = None

    def _parsed(self) -> dict[str, Any]:
        if self._headers is None:
            self._headers = notification_headers(self._message)
        return self._headers

    def __getitem__(self, name: str) -> Any:
        return self._parsed()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parsed())

    def __len__(self) -> int:
        return len(self._parsed())

    def __repr__(self) -> str:
        return repr(self._parsed())
