"""The MSRP end of a party that is scripted: chunks written by a test, and those that come back."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from sipsimple.msrp.chunker import Chunker
from sipsimple.msrp.message import MSRPData

LIMIT = 30.0
OWN = "msrp://127.0.0.1:2855/raw;tcp"


class MSRPParty:
    """One connection; `theirs` is the URI of the other end, from its description."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, theirs: str, own: str = OWN) -> None:
        self.reader = reader
        self.writer = writer
        self.theirs = theirs
        self.own = own
        self.chunks: list[MSRPData] = []
        self._chunker = Chunker()
        self._number = 0

    @classmethod
    async def connect(cls, body: bytes, own: str = OWN) -> MSRPParty:
        """Connect to where this description says, and bind the session."""
        theirs = path_of(body)
        host, port = re.match(r"msrps?://(.*):(\d+)/", theirs).groups()
        party = cls(*await asyncio.open_connection(host.strip("[]"), int(port)), theirs, own)
        party.send(b"", None)
        assert (await party.response()).code == 200
        return party

    def send(
        self, data: bytes, byte_range: str | None, flag: str = "$", message_id: str = "file-1", **headers: str
    ) -> None:
        """Write a SEND; without a range it has no body."""
        self._number += 1
        known = {"To-Path": self.theirs, "From-Path": self.own, "Message-ID": message_id}
        if byte_range is not None:
            known |= {"Success-Report": "yes", "Failure-Report": "partial", "Byte-Range": byte_range}
            known["Content-Type"] = "application/octet-stream"
        known |= {name.replace("_", "-"): value for name, value in headers.items()}
        chunk = MSRPData(f"raw{self._number:05d}", method="SEND", headers=known, data=data, continuation=flag)
        self.writer.write(chunk.encode())

    def report(self, message_id: str, byte_range: str, status: str = "000 200 OK") -> None:
        """Write a REPORT."""
        self._number += 1
        headers = {"To-Path": self.theirs, "From-Path": self.own, "Message-ID": message_id}
        headers |= {"Byte-Range": byte_range, "Status": status}
        self.writer.write(MSRPData(f"raw{self._number:05d}", method="REPORT", headers=headers).encode())

    def answer(self, chunk: MSRPData, code: int = 200) -> None:
        """Write the response to a request."""
        headers = {"To-Path": self.theirs, "From-Path": self.own}
        self.writer.write(MSRPData(chunk.transaction_id, code=code, headers=headers).encode())

    async def next(self) -> MSRPData | None:
        """The next chunk, or segment of one; None at the end of the connection."""
        async with asyncio.timeout(LIMIT):
            while not self.chunks:
                data = await self.reader.read(65536)
                if not data:
                    return None
                self.chunks += self._chunker.feed(data)
        return self.chunks.pop(0)

    async def response(self) -> Any:
        """The next response; what else comes before it is passed over."""
        while (chunk := await self.next()) is not None and chunk.code is None:
            pass
        return chunk

    async def reports(self, last: str) -> list[tuple[str, str]]:
        """Ranges and states of the reports, up to the one that ends with `last` or is no success."""
        found = []
        while (chunk := await self.next()) is not None:
            if chunk.method == "REPORT":
                found.append((chunk.headers["Byte-Range"], chunk.headers["Status"]))
                if found[-1][0].endswith(last) or " 200" not in found[-1][1]:
                    break
        return found

    async def end(self) -> None:
        """Close when the other end has closed."""
        while not self.writer.is_closing() and await self.next() is not None:
            pass
        self.close()

    def close(self) -> None:
        self.writer.close()


def path_of(body: bytes) -> str:
    """The URI in a description with one media."""
    found = re.search(rb"a=path:(\S+)", body)
    assert found is not None, body
    return found[1].decode()
