"""The digits of a telephone's keys as bodies of INFO: what is in use since before RFC 6086, without a standard.

`application/dtmf-relay` has lines `Signal=5` and `Duration=160` (milliseconds), `application/dtmf` just the digit.
Some senders write the code of RFC 4733 3.2 in place of `*`, `#` and the letters.
"""

from __future__ import annotations

import re
from typing import Final

DTMF_RELAY: Final = "application/dtmf-relay"
DTMF: Final = "application/dtmf"
DIGIT_TYPES: Final = (DTMF_RELAY, DTMF)
INFO_DURATION: Final = 160
"""Milliseconds that a key is said to be pressed."""

_CODES: Final = "0123456789*#ABCD"
_SIGNAL: Final = re.compile(rb"^[ \t]*Signal[ \t]*=[ \t]*([0-9A-D*#]{1,2})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_DIGIT: Final = re.compile(rb"\s*([0-9A-D*#]|1[0-5])\s*", re.IGNORECASE)


def digit_body(digit: str) -> tuple[str, bytes]:
    """The content type and the body that tell of a digit."""
    return DTMF_RELAY, f"Signal={digit}\r\nDuration={INFO_DURATION}\r\n".encode("ascii")


def digit_in(content_type: str, body: bytes) -> str | None:
    """The digit that a body of one of `DIGIT_TYPES` tells of; None when there is none, as for a hook flash."""
    match = _SIGNAL.search(body)
    if match is None and content_type == DTMF:
        match = _DIGIT.fullmatch(body)
    if match is None:
        return None
    signal = match[1].decode("ascii").upper()
    if len(signal) == 1:
        return signal
    return _CODES[int(signal)] if signal.isdigit() and int(signal) < len(_CODES) else None
