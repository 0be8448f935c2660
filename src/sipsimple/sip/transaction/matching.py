"""Which transaction a message belongs to (RFC 3261 17.1.3, 17.2.3, 9.2, and 8.2.2.2 for requests that came twice)."""

from __future__ import annotations

from typing import Final

from sipsimple.sip.message import Request, Response

__all__ = ["MAGIC_COOKIE", "cancelled_key", "client_key", "merge_key", "server_key"]

MAGIC_COOKIE: Final = "z9hG4bK"
"""Begins the branch of every element that speaks RFC 3261, and so makes it unique."""


def client_key(message: Request | Response) -> tuple[str, str]:
    """Key of the client transaction that sent this request or waits for this response (17.1.3)."""
    return message.via.branch or "", message.cseq[1]


def server_key(request: Request) -> tuple[str, ...]:
    """Key of the server transaction of this request; an ACK has the key of its INVITE (17.2.3)."""
    method = request.method
    return _server_key(request, "INVITE" if method == "ACK" else method)


def cancelled_key(cancel: Request) -> tuple[str, ...]:
    """Key of the server transaction that this CANCEL is about (9.2)."""
    return _server_key(cancel, "INVITE")


def merge_key(request: Request) -> tuple[str, ...]:
    """The same for all copies of a request without To tag that arrive by different paths (8.2.2.2)."""
    number, method = request.cseq
    return request.from_.tag or "", request.call_id, f"{number} {method}"


def _server_key(request: Request, method: str) -> tuple[str, ...]:
    via = request.via
    branch = via.parameters.get("branch")
    if branch is not None and branch.startswith(MAGIC_COOKIE):
        return branch, f"{via.host.lower()}:{via.port}", method
    # Deviation: 17.2.3 also compares the To tag, for an ACK with that of our response. Two requests that differ in
    # nothing else do not exist, and without it the INVITE and its ACK have one key.
    return (
        f"{via.transport} {via.host.lower()}:{via.port} {branch}",
        request.raw_uri,
        request.from_.tag or "",
        request.call_id,
        str(request.cseq[0]),
        method,
    )
