"""A party of a call that is scripted message by message over a bare UDP socket."""

from __future__ import annotations

import asyncio
import secrets
import socket
from typing import Any

from sipsimple.core import Engine
from sipsimple.sip.message import Request, Response, parse_message

LIMIT = 5.0
SDP = """v=0
o=- 1 1 IN IP4 127.0.0.1
s=raw
c=IN IP4 127.0.0.1
t=0 0
m={media} 9 TCP/X *
a={direction}
"""


class RawPeer:
    """Calls the engine of this process, or is called by it, with messages that a test writes itself."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.target = ("127.0.0.1", Engine().udp_port)
        self.call_id = secrets.token_hex(6)
        self.tag = secrets.token_hex(4)
        self.remote_tag: str | None = None
        self.cseq = 0

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, text: str, body: str = "", content_type: str = "application/sdp") -> None:
        """Send a message; its lines end in LF here, and its length is added."""
        payload = body.replace("\n", "\r\n").encode()
        if payload:
            text += f"Content-Type: {content_type}\n"
        text += f"Content-Length: {len(payload)}\n\n"
        self.socket.sendto(text.replace("\n", "\r\n").encode() + payload, self.target)

    def request(
        self,
        method: str,
        body: str = "",
        headers: str = "",
        cseq: int | None = None,
        content_type: str = "application/sdp",
    ) -> str:
        """Send a request of this call; returns its branch."""
        if cseq is None:
            self.cseq += 1
        branch = f"z9hG4bK{secrets.token_hex(6)}"
        to_tag = f";tag={self.remote_tag}" if self.remote_tag else ""
        self.send(
            f"{method} sip:alice@127.0.0.1:{self.target[1]} SIP/2.0\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};branch={branch};rport\n"
            f"From: <sip:raw@127.0.0.1:{self.port}>;tag={self.tag}\n"
            f"To: <sip:alice@127.0.0.1>{to_tag}\n"
            f"Call-ID: {self.call_id}\n"
            f"CSeq: {self.cseq if cseq is None else cseq} {method}\n"
            f"Contact: <sip:raw@127.0.0.1:{self.port}>\n"
            f"Max-Forwards: 70\n{headers}",
            body,
            content_type,
        )
        return branch

    async def receive(self) -> Any:
        """The next message that comes."""
        async with asyncio.timeout(LIMIT):
            message = parse_message(await asyncio.get_running_loop().sock_recv(self.socket, 65535))
        if isinstance(message, Response) and message.to.tag:
            self.remote_tag = message.to.tag
        return message

    async def response(self, code: int) -> Response:
        """The next response with this code; others that come before it are passed over."""
        while True:
            message = await self.receive()
            if isinstance(message, Response) and message.code == code:
                return message

    async def expect(self, method: str) -> Request:
        """The next request of this method; others that come before it are passed over."""
        while True:
            message = await self.receive()
            if isinstance(message, Request) and message.method == method:
                self.call_id = message.call_id
                self.remote_tag = message.from_.tag
                return message

    def respond(self, request: Request, code: int, reason: str = "x", body: str = "", headers: str = "") -> None:
        """Answer a request of the engine."""
        lines = [f"SIP/2.0 {code} {reason}"]
        lines += [f"Via: {via}" for via in request.headers.get_all("Via")]
        lines += [f"Record-Route: {route}" for route in request.headers.get_all("Record-Route")]
        lines.append(f"From: {request.headers.get('From')}")
        to = request.headers.get("To")
        lines.append(f"To: {to}" if request.to.tag or code == 100 else f"To: {to};tag={self.tag}")
        lines.append(f"Call-ID: {request.call_id}")
        lines.append(f"CSeq: {request.headers.get('CSeq')}")
        lines.append(f"Contact: <sip:raw@127.0.0.1:{self.port}>")
        self.send("\n".join(lines) + "\n" + headers, body)


def description(media: str = "x-contract", direction: str = "sendrecv") -> str:
    """A session description with one media."""
    return SDP.format(media=media, direction=direction)
