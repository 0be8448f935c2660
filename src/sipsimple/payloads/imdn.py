"""Notifications about what became of a message (RFC 5438): `message/imdn+xml`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sipsimple.payloads.reading import child_text, local_name, moment, write_moment
from sipsimple.payloads.xmldoc import MalformedDocument, encode_document, make_element, parse_document

__all__ = ["CONTENT_TYPE", "IMDN", "MAX_SIZE", "NAMESPACE"]

CONTENT_TYPE: Final = "message/imdn+xml"
NAMESPACE: Final = "urn:ietf:params:xml:ns:imdn"
CPIM_NAMESPACE: Final = "urn:ietf:params:imdn"
"""The namespace of the CPIM headers `imdn.Message-ID` and `imdn.Disposition-Notification`."""
MAX_SIZE: Final = 64 * 1024

_STATUSES: Final = {
    "delivery": ("delivered", "failed", "forbidden", "error"),
    "display": ("displayed", "forbidden", "error"),
    "processing": ("processed", "stored", "forbidden", "error"),
}


@dataclass(frozen=True, slots=True)
class IMDN:
    """What became of the message with this identifier, which was sent at `datetime` (aware of its zone).

    `kind` is `delivery`, `display` or `processing`, and `status` what happened: `delivered`, `failed`, `displayed`,
    `processed`, `stored`, `forbidden` or `error`. Recipients are URIs.
    """

    message_id: str
    datetime: datetime
    kind: str
    status: str
    recipient_uri: str | None = None
    original_recipient_uri: str | None = None
    subject: str | None = None

    def __post_init__(self) -> None:
        if self.status not in _STATUSES.get(self.kind, ()):
            raise ValueError(f"{self.kind} {self.status} is no disposition of a message (RFC 5438 11.1)")

    @classmethod
    def parse(cls, data: bytes) -> IMDN:
        """Read a document; raises MalformedDocument."""
        root = parse_document(data, _tag("imdn"), max_size=MAX_SIZE)
        message_id, sent = child_text(root, _tag("message-id")), moment(child_text(root, _tag("datetime")))
        if message_id is None or sent is None:
            raise MalformedDocument("there is no message-id, or no datetime")
        for kind in _STATUSES:
            status = root.find(f"{_tag(f'{kind}-notification')}/{_tag('status')}")
            if status is not None and len(status) and local_name(status[0]) in _STATUSES[kind]:
                return cls(
                    message_id,
                    sent,
                    kind,
                    local_name(status[0]),
                    child_text(root, _tag("recipient-uri")),
                    child_text(root, _tag("original-recipient-uri")),
                    child_text(root, _tag("subject")),
                )
        raise MalformedDocument("there is no notification with a status")

    def encode(self) -> bytes:
        """The document; a time without a zone is local time."""
        root = make_element(_tag("imdn"), namespaces={None: NAMESPACE})
        for name, value in (
            ("message-id", self.message_id),
            ("datetime", write_moment(self.datetime)),
            ("recipient-uri", self.recipient_uri),
            ("original-recipient-uri", self.original_recipient_uri),
            ("subject", self.subject),
        ):
            if value is not None:
                root.append(make_element(_tag(name), value))
        notification, status = make_element(_tag(f"{self.kind}-notification")), make_element(_tag("status"))
        status.append(make_element(_tag(self.status)))
        notification.append(status)
        root.append(notification)
        return encode_document(root)


def _tag(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"
