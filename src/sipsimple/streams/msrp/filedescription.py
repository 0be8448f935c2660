"""What the media section of a description says about a file (RFC 5547 6): selector, id, disposition, date and range.

A range says which bytes are to be sent; it is how an interrupted transfer goes on. Who offers to send says `1-*`, and
who answers may ask for less; who asks for a file says from the outset which part is missing. An icon is not shown.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any, Final

from sipsimple.core import SDPAttribute
from sipsimple.streams.msrp.fileselector import MAX_FILE_SIZE, FileSelector

__all__ = ["FileDescription", "FileRange"]

_RANGE: Final = re.compile(r"([0-9]{1,19})-([0-9]{1,19}|\*)")
_TRANSFER_ID: Final = re.compile(r"[!#$%&'*+.^_`{|}~0-9A-Za-z-]{1,64}")
_DISPOSITION: Final = re.compile(r"[!#$%&'*+.^_`{|}~0-9A-Za-z-]{1,32}")
_MODIFIED: Final = re.compile(r'modification:"([^"]{1,64})"')


@dataclass(frozen=True, slots=True)
class FileRange:
    """The bytes from number `start`, the first of a file being 1, to `stop`; None is its end."""

    start: int = 1
    stop: int | None = None

    @classmethod
    def parse(cls, text: str) -> FileRange:
        """Read the value of a `file-range` attribute; raises ValueError."""
        match = _RANGE.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"{text[:80]!r} is no range of bytes such as 1-*")
        start, stop = int(match[1]), None if match[2] == "*" else int(match[2])
        if not 1 <= start <= MAX_FILE_SIZE or (stop is not None and not start - 1 <= stop <= MAX_FILE_SIZE):
            raise ValueError(f"{text[:80]!r} is no range of bytes: it has to begin with 1 or more, and end behind that")
        return cls(start, stop)

    def is_whole(self, size: int | None) -> bool:
        """Whether these are all bytes of a file of this size."""
        return self.start == 1 and (self.stop is None or self.stop == size)

    def __str__(self) -> str:
        return f"{self.start}-{'*' if self.stop is None else self.stop}"


def _new_transfer_id() -> str:
    return secrets.token_hex(16)


@dataclass(slots=True)
class FileDescription:
    """The file of one media section. Without a `range` the party that wrote it does not know ranges."""

    selector: FileSelector
    transfer_id: str | None = field(default_factory=_new_transfer_id)
    disposition: str = "attachment"
    modified: datetime | None = None
    range: FileRange | None = None

    @classmethod
    def parse(cls, media: Any) -> FileDescription | None:
        """Read a media section; None when it describes no file. Raises ValueError."""
        selector = media.attributes.getfirst("file-selector")
        if selector is None:
            return None
        transfer_id = media.attributes.getfirst("file-transfer-id")
        if transfer_id is not None and not _TRANSFER_ID.fullmatch(transfer_id):
            raise ValueError(f"{transfer_id[:80]!r} is no id of a file transfer")
        disposition = media.attributes.getfirst("file-disposition") or "attachment"
        file_range = media.attributes.getfirst("file-range")
        return cls(
            FileSelector.parse(selector),
            transfer_id,
            disposition if _DISPOSITION.fullmatch(disposition) else "attachment",
            _parse_modified(media.attributes.getfirst("file-date")),
            None if file_range is None else FileRange.parse(file_range),
        )

    def attributes(self) -> list[SDPAttribute]:
        """The attributes of a media section."""
        values = {"file-selector": self.selector.sdp_repr, "file-transfer-id": self.transfer_id}
        values["file-disposition"] = self.disposition
        if self.modified is not None:
            values["file-date"] = f'modification:"{format_datetime(self.modified)}"'
        if self.range is not None:
            values["file-range"] = str(self.range)
        return [SDPAttribute(name, value) for name, value in values.items() if value is not None]


def _parse_modified(text: str | None) -> datetime | None:
    match = None if text is None else _MODIFIED.search(text)
    if match is None:
        return None
    try:
        return parsedate_to_datetime(match[1])
    except (ValueError, OverflowError):
        return None
