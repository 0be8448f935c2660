"""The status codes of MSRP and what they are called (RFC 4975 10, RFC 7701 for nicknames)."""

from __future__ import annotations

from typing import Final

__all__ = [
    "BAD_REQUEST",
    "FORBIDDEN",
    "METHOD_UNKNOWN",
    "NO_SESSION",
    "OK",
    "SESSION_IN_USE",
    "STOP_SENDING",
    "TIMEOUT",
    "UNAUTHORIZED",
    "UNSUPPORTED_MEDIA_TYPE",
    "WRONG_INTERVAL",
    "comment_of",
]

OK: Final = 200
BAD_REQUEST: Final = 400
UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403
TIMEOUT: Final = 408
STOP_SENDING: Final = 413
UNSUPPORTED_MEDIA_TYPE: Final = 415
WRONG_INTERVAL: Final = 423
NO_SESSION: Final = 481
METHOD_UNKNOWN: Final = 501
SESSION_IN_USE: Final = 506

_COMMENTS: Final = {
    OK: "OK",
    BAD_REQUEST: "Bad Request",
    UNAUTHORIZED: "Unauthorized",
    FORBIDDEN: "Forbidden",
    404: "Not Found",
    TIMEOUT: "Request Timeout",
    STOP_SENDING: "Stop Sending Message",
    UNSUPPORTED_MEDIA_TYPE: "Unsupported Media Type",
    WRONG_INTERVAL: "Interval Out Of Bounds",
    424: "Malformed Nickname",
    425: "Nickname Reserved Or Already In Use",
    428: "Private Messages Not Supported",
    NO_SESSION: "No Such Session",
    METHOD_UNKNOWN: "Unknown Method",
    SESSION_IN_USE: "Session Already In Use",
}


def comment_of(code: int) -> str:
    """The usual comment for a status code; empty for codes that nobody has defined."""
    return _COMMENTS.get(code, "")
