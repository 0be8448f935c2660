"""A file between parties that are both behind Kamailio's relay for MSRP: stored, and continued where it was cut."""

from __future__ import annotations

import os

import pytest

from sipsimple.streams import FileSelector, FileTransferStream
from sipsimple.streams.msrp.incoming_file import FileTransferError
from tests.interop.test_chat_with_msrp_relay import behind_a_relay

pytestmark = pytest.mark.interop

SIZE = 1_000_000


class Cut:
    """A file in memory that cannot be read beyond a byte."""

    def __init__(self, data: bytes, end: int) -> None:
        self.data = data
        self.end = end
        self.at = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.at = len(self.data) + offset if whence == os.SEEK_END else offset
        return self.at

    def tell(self) -> int:
        return self.at

    def read(self, size: int) -> bytes:
        if self.at >= self.end < len(self.data):
            raise OSError("the test stops here")
        return self.data[self.at : min(self.at + size, self.end)]


async def test_a_file_goes_through_the_relay_and_is_continued_there(nothing_left, tmp_path):
    data = os.urandom(SIZE)
    async with behind_a_relay(tmp_path) as (agent, relay):
        known = FileSelector("data.bin", size=SIZE, fd=Cut(data, SIZE))
        for stop in (SIZE // 2, SIZE):
            selector = FileSelector("data.bin", size=SIZE, hash=known.hash, sha256=known.sha256, fd=known.fd)
            stream = FileTransferStream(agent.account, selector)
            caller = agent.call(stream, transport="tcp")
            callee = await agent.incoming()
            known.hash, known.sha256 = selector.hash, selector.sha256  # computed for the offer, of all of it
            (other,) = callee.proposed_streams
            other.directory = tmp_path / "inbox"
            known.fd.end = stop
            callee.accept([other])
            if stop < SIZE:
                with pytest.raises(FileTransferError, match="given it up"):
                    await other.finished
            else:
                assert await other.finished == str(tmp_path / "inbox" / "data.bin")
                await stream.finished
                assert 0 < stream._message.size < SIZE
            assert stream.remote_description.path[0].port == relay.port
            caller.end()
            for one in (stream, other):
                await agent.record.until(one, "MediaStreamDidEnd")
        assert (tmp_path / "inbox" / "data.bin").read_bytes() == data
