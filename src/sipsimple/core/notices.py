"""Notifications of the core: each has a timestamp, and those about a SIP message have its parts."""

from __future__ import annotations

from typing import Any

from sipsimple.notification import NotificationCenter, TimestampedNotificationData
from sipsimple.sip.message import Request, Response
from sipsimple.sip.notice import message_attributes


def post(name: str, sender: object, message: Request | Response | None = None, **attributes: Any) -> None:
    """Post a notification; `message` adds headers, body and what its kind of message has."""
    if message is not None:
        attributes |= message_attributes(message)
    NotificationCenter().post_notification(name, sender, TimestampedNotificationData(**attributes))
