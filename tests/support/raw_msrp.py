"""A chat party that writes its own MSRP, right or wrong, inside an orderly SIP session."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from sipsimple.core import SDPAttribute, SDPMediaStream
from sipsimple.msrp import parse_path
from sipsimple.msrp.chunker import Chunker
from sipsimple.msrp.message import MSRPData
from tests.support.contract_stream import ContractStream

LIMIT = 30.0


class RawChat(ContractStream):
    """Describes a chat; who connects and what is written is for the test to do."""

    type = "raw-chat"
    priority = None
    hold_supported = False
    transport = "TCP/MSRP"
    path = "msrp://127.0.0.1:2855/raw;tcp"
    accept_types = "message/cpim text/* application/im-iscomposing+xml"
    more: tuple[tuple[str, str], ...] = ()
    remote_sdp: Any = None

    def get_local_media(self, for_offer: bool) -> SDPMediaStream:
        lines = [("path", self.path), ("accept-types", self.accept_types), ("accept-wrapped-types", "*"), *self.more]
        attributes = [SDPAttribute(name, value) for name, value in lines if value is not None]
        port = parse_path(self.path)[-1].effective_port if self.path else 9
        return SDPMediaStream("message", port, self.transport, formats=["*"], attributes=attributes)

    def start(self, local_sdp: Any, remote_sdp: Any, stream_index: int) -> None:
        self.remote_sdp = remote_sdp
        super().start(local_sdp, remote_sdp, stream_index)

    @property
    def remote_path(self) -> str:
        return str(self.remote_sdp.media[self.index].attributes.getfirst("path"))


class RawConnection:
    """A TCP connection that speaks MSRP for `local` to `remote`, the paths of the two."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, local: str, remote: str) -> None:
        self.reader = reader
        self.writer = writer
        self.local = local
        self.remote = remote
        self.count = 0
        self._chunker = Chunker()
        self._chunks: list[MSRPData] = []

    @classmethod
    async def open(cls, stream: RawChat) -> RawConnection:
        """Connect to where the other party listens."""
        uri = parse_path(stream.remote_path)[0]
        reader, writer = await asyncio.open_connection(uri.host, uri.effective_port)
        return cls(reader, writer, stream.path, stream.remote_path)

    def request(self, method: str = "SEND", body: bytes | None = b"", flag: str = "$", **headers: str | None) -> bytes:
        """The wire form of a request; a header of None is left out."""
        self.count += 1
        tid = f"raw{self.count:05d}"
        named = {"To_Path": self.remote, "From_Path": self.local, "Message_ID": f"id{self.count}"} | headers
        lines = [f"MSRP {tid} {method}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in named.items() if value is not None]
        data = "\r\n".join(lines).encode() + b"\r\n"
        if body is not None and "Content_Type" in headers:
            data += b"\r\n" + body + b"\r\n"
        return data + f"-------{tid}{flag}\r\n".encode()

    async def send(self, *args: Any, **kw: Any) -> None:
        await self.write(self.request(*args, **kw))

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def next(self) -> MSRPData | None:
        """The next chunk of the other party; None when it has closed."""
        async with asyncio.timeout(LIMIT):
            while not self._chunks:
                data = await self.reader.read(65536)
                if not data:
                    return None
                self._chunks += self._chunker.feed(data)
        return self._chunks.pop(0)

    async def respond(self, chunk: MSRPData, code: int = 200) -> None:
        response = MSRPData(chunk.transaction_id, code=code, headers={"To-Path": self.remote, "From-Path": self.local})
        await self.write(response.encode())

    async def bind(self) -> None:
        """The first SEND, which tells whose connection this is."""
        await self.send()
        answer = await self.next()
        assert answer is not None
        assert answer.code == 200

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()
