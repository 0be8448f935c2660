"""Chunks, the units in which MSRP travels (RFC 4975 7 and 9): requests, responses, and segments of large requests.

Here are the values and their wire form. Where one chunk ends and the next begins is the business of
`sipsimple.msrp.chunker`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from sipsimple.msrp.errors import MalformedChunk, MalformedURI
from sipsimple.msrp.status import comment_of
from sipsimple.msrp.uri import MSRPURI, parse_path

__all__ = ["ABORTED", "COMPLETE", "MAX_HEADER_LINES", "MORE", "ByteRange", "MSRPData", "Status", "parse_head"]

MAX_HEADER_LINES: Final = 64
MAX_BYTES: Final = 2**63 - 1  # of a message; a larger number in a Byte-Range is nonsense

COMPLETE: Final = "$"
MORE: Final = "+"
ABORTED: Final = "#"

IDENT: Final = r"[A-Za-z0-9][A-Za-z0-9.\-+%=]{3,31}"
START_LINE: Final = re.compile(rf"MSRP ({IDENT}) (?:([A-Z]{{1,32}})|([0-9]{{3}})(?: (.*))?)")
_NAME_CHARACTER: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_HEADER: Final = re.compile(rf"([A-Za-z]{_NAME_CHARACTER}*):[ \t]*(.*)")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_MISPLACED: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n")
_BYTE_RANGE: Final = re.compile(r"([0-9]{1,19})-([0-9]{1,19}|\*)/([0-9]{1,19}|\*)")
_STATUS: Final = re.compile(r"([0-9]{3}) ([0-9]{3})(?: (.*))?")

_KNOWN: Final = frozenset({
    "To-Path", "From-Path", "Message-ID", "Success-Report", "Failure-Report", "Byte-Range", "Status",
    "Content-Type", "Content-ID", "Content-Description", "Content-Disposition",
    "Use-Path", "Expires", "Min-Expires", "Max-Expires", "WWW-Authenticate", "Authorization", "Authentication-Info",
    "Use-Nickname",
})  # fmt: skip
_NAMES: Final = {name.lower(): name for name in _KNOWN}


class ByteRange(NamedTuple):
    """Which bytes of a message a chunk holds; the first byte is number 1. None is written `*`: not known."""

    start: int
    end: int | None
    total: int | None

    @classmethod
    def parse(cls, text: str) -> ByteRange:
        """Read the value of a Byte-Range header; raises MalformedChunk."""
        return cls(*_parse_byte_range(text))

    def __str__(self) -> str:
        end = "*" if self.end is None else self.end
        total = "*" if self.total is None else self.total
        return f"{self.start}-{end}/{total}"


class Status(NamedTuple):
    """What a REPORT says (RFC 4975 7.1.2): a code, and words for humans. `namespace` 0 is that of the RFC."""

    code: int
    comment: str = ""
    namespace: int = 0

    @classmethod
    def parse(cls, text: str) -> Status:
        """Read the value of a Status header; raises MalformedChunk."""
        match = _STATUS.fullmatch(text.strip())
        if match is None:
            raise MalformedChunk(f"{text[:80]!r} is no Status")
        return cls(int(match[2]), match[3] or "", int(match[1]))

    def __str__(self) -> str:
        return f"{self.namespace:03d} {self.code:03d} {self.comment}".rstrip()


class MSRPData:
    """A request or a response, or a segment of a large request.

    A request has a `method`, a response a `code` and a `comment`. The names in `headers` are written as in the RFCs,
    unknown ones as they came. A request without a body has no Content-Type and empty `data`.

    A chunk that is larger than a segment comes as several of these with the same headers: `offset` is the number of
    bytes of its body that came before, and `continuation` is `+` for all but the last, for more is to come. So whoever
    is interested in messages alone need not care what was a chunk and what a segment; `ends_chunk` tells the others.

    The properties read the header of that name; those of paths, ranges and status raise MalformedChunk if they cannot.
    """

    __slots__ = (
        "code",
        "comment",
        "continuation",
        "data",
        "ends_chunk",
        "headers",
        "method",
        "offset",
        "transaction_id",
    )

    def __init__(
        self,
        transaction_id: str,
        *,
        method: str | None = None,
        code: int | None = None,
        comment: str | None = None,
        headers: dict[str, str] | None = None,
        data: bytes = b"",
        continuation: str = COMPLETE,
        offset: int = 0,
        ends_chunk: bool = True,
    ) -> None:
        self.transaction_id = transaction_id
        self.method = method
        self.code = code
        self.comment = comment if comment is not None or code is None else comment_of(code)
        self.headers = {} if headers is None else headers
        self.data = data
        self.continuation = continuation
        self.offset = offset
        self.ends_chunk = ends_chunk

    def segment(self, data: bytes, offset: int, continuation: str, *, ends_chunk: bool) -> MSRPData:
        """A part of the body of this chunk, which is known by its headers so far."""
        return MSRPData(
            self.transaction_id,
            method=self.method,
            code=self.code,
            comment=self.comment,
            headers=self.headers,
            data=data,
            continuation=continuation,
            offset=offset,
            ends_chunk=ends_chunk,
        )

    @property
    def starts_chunk(self) -> bool:
        """Whether this is a whole chunk or its first segment."""
        return self.offset == 0

    @property
    def to_path(self) -> tuple[MSRPURI, ...]:
        """The way that the chunk has still to go."""
        return self._path("To-Path")

    @property
    def from_path(self) -> tuple[MSRPURI, ...]:
        """The way back."""
        return self._path("From-Path")

    @property
    def use_path(self) -> tuple[MSRPURI, ...]:
        """The path that a relay gives to its client (RFC 4976)."""
        return self._path("Use-Path")

    @property
    def message_id(self) -> str | None:
        return self.headers.get("Message-ID")

    @property
    def content_type(self) -> str | None:
        return self.headers.get("Content-Type")

    @property
    def success_report(self) -> str:
        """`yes` or `no`; without the header `no`."""
        return self.headers.get("Success-Report", "no").lower()

    @property
    def failure_report(self) -> str:
        """`yes`, `no` or `partial`; without the header `yes`."""
        return self.headers.get("Failure-Report", "yes").lower()

    @property
    def byte_range(self) -> ByteRange:
        """For a SEND the bytes that are really here, else what the header says. Without the header it is the first."""
        text = self.headers.get("Byte-Range")
        named = ByteRange(1, None, None) if text is None else ByteRange.parse(text)
        if self.method != "SEND":
            return named
        start = named.start + self.offset
        return ByteRange(start, start + len(self.data) - 1, named.total)

    @property
    def status(self) -> Status | None:
        """What a REPORT says; for a response its code and comment; None for other requests."""
        if self.code is not None:
            return Status(self.code, self.comment or "")
        text = self.headers.get("Status")
        return None if text is None else Status.parse(text)

    def head(self) -> str:
        """The start line and the headers in their wire form, each line with its end."""
        what = self.method if self.code is None else f"{self.code:03d} {self.comment}".rstrip()
        lines = [f"MSRP {self.transaction_id} {what}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items() if name != "Content-Type"]
        if (content_type := self.content_type) is not None:
            lines.append(f"Content-Type: {content_type}")  # RFC 4975 9: the last one
        return join_lines(lines)

    def encode(self) -> bytes:
        """The wire form of a whole chunk; raises ValueError when a header holds control characters."""
        body = b"" if self.content_type is None else b"\r\n%b\r\n" % self.data
        return self.head().encode() + body + f"-------{self.transaction_id}{self.continuation}\r\n".encode()

    def __repr__(self) -> str:
        what = self.method if self.code is None else self.code
        return f"<MSRPData {what} {self.transaction_id} {len(self.data)} bytes {self.continuation}>"

    def _path(self, name: str) -> tuple[MSRPURI, ...]:
        text = self.headers.get(name)
        if text is None:
            raise MalformedChunk(f"no {name} header")
        try:
            return parse_path(text)
        except MalformedURI as error:
            raise MalformedChunk(f"{name}: {error}") from error


def join_lines(lines: list[str]) -> str:
    """The lines, each with its end; raises ValueError when one holds control characters."""
    # The first look is cheap, and says no to a few harmless characters as well.
    if not "".join(lines).isprintable():
        for line in lines:
            if _CONTROL.search(line):
                raise ValueError(f"a line break or control character in {line!r}")
    return "\r\n".join(lines) + "\r\n"


@lru_cache(maxsize=256)  # short messages have few lengths
def _parse_byte_range(text: str) -> tuple[int, int | None, int | None]:
    match = _BYTE_RANGE.fullmatch(text.strip())
    if match is None:
        raise MalformedChunk(f"{text[:80]!r} is no Byte-Range")
    start = int(match[1])
    end, total = (None if part == "*" else int(part) for part in match.groups()[1:])
    if start < 1 or max(start, end or 0, total or 0) > MAX_BYTES:
        raise MalformedChunk(f"Byte-Range {text[:80]!r} is out of bounds")
    if end is not None and end < start - 1:
        raise MalformedChunk(f"Byte-Range {text[:80]!r} ends before it starts")
    if total is not None and max(start - 1, end or 0) > total:
        raise MalformedChunk(f"Byte-Range {text[:80]!r} goes beyond its own total")
    return start, end, total


def parse_head(block: bytes, start: re.Match[str] | None = None) -> MSRPData:
    """Read the start line and the headers, without the line end of the last one; raises MalformedChunk.

    `start` is what START_LINE has matched, if the start line was read already.
    """
    try:
        text = block.decode()
    except UnicodeDecodeError as error:
        raise MalformedChunk("headers that are not UTF-8") from error
    lines = text.split("\r\n")
    start = start or START_LINE.fullmatch(lines[0])
    if start is None:
        raise MalformedChunk(f"{lines[0][:80]!r} is no start line")
    if len(lines) > MAX_HEADER_LINES:
        raise MalformedChunk(f"{len(lines)} header lines; at most {MAX_HEADER_LINES} are read")
    if not "".join(lines).isprintable() and _MISPLACED.search(text):
        raise MalformedChunk("control characters among the headers")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, separator, value = line.partition(": ")
        if name not in _KNOWN or not separator:
            header = _HEADER.fullmatch(line)
            if header is None:
                raise MalformedChunk(f"{line[:80]!r} is no header")
            name, value = header.groups()
            name = _NAMES.get(name.lower(), name)
        if name not in headers:
            headers[name] = value.strip()
        elif name == "WWW-Authenticate":
            headers[name] += ", " + value.strip()  # one challenge for each algorithm that the relay knows
    transaction_id, method, code, comment = start.groups()
    return MSRPData(
        transaction_id,
        method=method,
        code=None if code is None else int(code),
        comment=None if code is None else comment or "",
        headers=headers,
    )
