"""The status line as the body of a NOTIFY (message/sipfrag, RFC 3420), which tells how far a referred call has come."""

from __future__ import annotations

import re
from typing import Final

from sipsimple.sip.message import reason_of

SIPFRAG_TYPE: Final = "message/sipfrag;version=2.0"

_STATUS: Final = re.compile(rb"\s*SIP/2\.0[ \t]+([1-6][0-9][0-9])[ \t]*([^\r\n]*)", re.IGNORECASE)


def write_status(code: int, reason: str | None = None) -> bytes:
    """The body that tells this status."""
    return f"SIP/2.0 {code} {reason_of(code) if reason is None else reason}\r\n".encode()


def parse_status(body: bytes) -> tuple[int, str] | None:
    """The code and reason that a body begins with, None when it begins with something else."""
    status = _STATUS.match(body)
    return None if status is None else (int(status[1]), status[2].decode("utf-8", "replace").strip())
