"""The indication that somebody is writing a message (RFC 3994): `application/im-iscomposing+xml`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sipsimple.payloads.reading import moment, write_moment
from sipsimple.payloads.xmldoc import MalformedDocument, encode_document, make_element, parse_document

__all__ = ["CONTENT_TYPE", "MAX_SIZE", "IsComposing"]

CONTENT_TYPE: Final = "application/im-iscomposing+xml"
NAMESPACE: Final = "urn:ietf:params:xml:ns:im-iscomposing"
MAX_SIZE: Final = 64 * 1024
MAX_REFRESH: Final = 2**31
_MAX_TEXT: Final = 256
_STATES: Final = ("active", "idle")


@dataclass(frozen=True, slots=True)
class IsComposing:
    """Whether somebody is writing, `state` being `active` or `idle`.

    `refresh` is in seconds: how long an active state is valid without being told again. `last_active` is aware of its
    time zone; `content_type` is the kind of message that is written. What was not said is None.
    """

    state: str
    refresh: int | None = None
    last_active: datetime | None = None
    content_type: str | None = None

    def __post_init__(self) -> None:
        if self.state not in _STATES:
            raise ValueError(f"state is 'active' or 'idle', not {self.state!r}")
        if self.refresh is not None and not 0 < self.refresh < MAX_REFRESH:
            raise ValueError(f"refresh is a number of seconds above 0, not {self.refresh!r}")

    @classmethod
    def parse(cls, data: bytes) -> IsComposing:
        """Read a document; raises MalformedDocument.

        RFC 3994 3.3: an unknown state is `idle`. Other elements that make no sense count as missing.
        """
        root = parse_document(data, f"{{{NAMESPACE}}}isComposing", max_size=MAX_SIZE)
        state = _text(root, "state")
        if state is None:
            raise MalformedDocument("there is no state")
        return cls(
            state=state if state in _STATES else "idle",
            refresh=_seconds(_text(root, "refresh")),
            last_active=moment(_text(root, "lastactive")),
            content_type=_text(root, "contenttype") or None,
        )

    def encode(self) -> bytes:
        """The document; a `last_active` without a time zone is local time."""
        root = make_element(f"{{{NAMESPACE}}}isComposing", namespaces={None: NAMESPACE})
        for name, value in (
            ("state", self.state),
            ("lastactive", None if self.last_active is None else write_moment(self.last_active)),
            ("contenttype", self.content_type),
            ("refresh", None if self.refresh is None else str(self.refresh)),
        ):
            if value is not None:
                root.append(make_element(f"{{{NAMESPACE}}}{name}", value))
        return encode_document(root)


def _text(root: Any, name: str) -> str | None:
    text = root.findtext(f"{{{NAMESPACE}}}{name}")
    return None if text is None or len(text) > _MAX_TEXT else str(text).strip()


def _seconds(text: str | None) -> int | None:
    if text is None or not text.isascii() or not text.isdigit():
        return None
    number = int(text)
    return number if 0 < number < MAX_REFRESH else None
