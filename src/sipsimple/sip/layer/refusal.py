"""What a refused request is answered with when there is no transaction for it (RFC 3261 8.2.7, 18.3).

For bytes that are no message at all, `salvage` looks whether the headers that a response must repeat are there, and
makes the response from them.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from sipsimple.sip.message import MAX_HEADER_LENGTH, SIP_VERSION, Request, reason_of

__all__ = ["salvage", "stateless_tag"]

MAX_SALVAGED_HEAD: Final = 16384
MAX_SALVAGED_VIAS: Final = 64

_REQUEST_LINE: Final = re.compile(rb"([A-Za-z0-9.!%*_+`'~-]{1,64})[ \t]+[^\r\n]{1,8192}[ \t]SIP/[0-9]+\.[0-9]+[ \t]*")
_HEADER: Final = re.compile(rb"(via|v|from|f|to|t|call-id|i|cseq)[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE)
_LONG_NAMES: Final = {b"v": b"via", b"f": b"from", b"t": b"to", b"i": b"call-id"}
_ECHOED: Final = {b"from": b"From", b"to": b"To", b"call-id": b"Call-ID", b"cseq": b"CSeq"}


def stateless_tag(request: Request) -> str:
    """A To tag that is the same for every retransmission of the request (RFC 3261 8.2.7)."""
    identity = f"{request.headers.get('Via')}{request.headers.get('Call-ID')}{request.headers.get('CSeq')}"
    return hashlib.blake2s(identity.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def salvage(data: bytes, code: int) -> bytes | None:
    """The response to a request that could not be parsed; None when too little is readable, or it is an ACK."""
    head = data[:MAX_SALVAGED_HEAD].lstrip(b"\r\n").partition(b"\r\n\r\n")[0]
    first, *lines = head.split(b"\r\n")
    request_line = _REQUEST_LINE.fullmatch(first)
    if request_line is None or request_line[1] == b"ACK":
        return None
    vias: list[bytes] = []
    found: dict[bytes, bytes] = {}
    for line in lines:
        header = _HEADER.fullmatch(line)
        if header is None:
            continue
        name = header[1].lower()
        name = _LONG_NAMES.get(name, name)
        if name == b"via":
            vias.append(header[2])
        else:
            found.setdefault(name, header[2])
    if not 0 < len(vias) <= MAX_SALVAGED_VIAS or any(name not in found for name in _ECHOED):
        return None
    if any(len(value) > MAX_HEADER_LENGTH for value in (*vias, *found.values())):
        return None
    if b"tag=" not in found[b"to"]:
        found[b"to"] += b";tag=" + hashlib.blake2s(head, digest_size=8).hexdigest().encode()
    answer = [f"{SIP_VERSION} {code} {reason_of(code)}".encode()]
    answer += [b"Via: " + via for via in vias]
    answer += [written + b": " + found[name] for name, written in _ECHOED.items()]
    return b"\r\n".join([*answer, b"Content-Length: 0\r\n\r\n"])
