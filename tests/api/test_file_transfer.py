"""Files between two applications: pushed, pulled, continued, cancelled, and what is documented of it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from sipsimple.core import Engine
from sipsimple.notification import Notification, NotificationCenter
from sipsimple.streams import AudioStream, ChatStream, FileSelector, FileTransferStream
from sipsimple.streams.msrp import incoming_file
from sipsimple.streams.msrp.incoming_file import PARTS, FileTransferError
from sipsimple.util import Route
from tests.support.agent import Agent, eventually, running_agent
from tests.support.msrp_agent import msrp_settings

PLACES = [("tcp", "127.0.0.1"), ("tls", "127.0.0.1"), ("tcp", "::1"), ("tls", "::1")]
SIZE = 700_000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file to send."""
    (tmp_path / "outbox").mkdir()
    path = tmp_path / "outbox" / "the file.bin"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """Where received files go."""
    return tmp_path / "inbox"


@asynccontextmanager
async def described(path: Path, **options: Any) -> AsyncIterator[FileSelector]:
    """The selector of a file, which is closed afterwards."""
    selector = FileSelector.for_file(path, **options)
    try:
        yield selector
    finally:
        selector.fd.close()


@pytest.fixture
async def agent(nothing_left: None) -> AsyncIterator[Agent]:
    async with running_agent(msrp_settings()) as agent:
        yield agent


class Call:
    """A call with one file, as far as it has come."""

    def __init__(self, agent: Agent, stream: FileTransferStream, address: str = "127.0.0.1") -> None:
        self.agent = agent
        self.stream = stream
        self.caller = agent.call(stream, routes=[Route(address, Engine().tcp_port, "tcp")])
        self.callee: Any = None
        self.other: Any = None

    async def announced(self) -> FileTransferStream:
        """The stream of the called party."""
        self.callee = await self.agent.incoming()
        (self.other,) = self.callee.proposed_streams
        assert type(self.other) is FileTransferStream
        return self.other

    async def accepted(self, directory: Path | None = None) -> Call:
        other = await self.announced()
        if directory is not None:
            other.directory = directory
        self.callee.accept([other])
        return self

    async def until(self, stream: Any, name: str) -> Any:
        return await self.agent.record.until(stream, name)

    async def has_stored(self, size: int) -> None:
        await eventually(lambda: self.other.transferred_bytes >= size, f"{size} bytes are stored")

    def told(self, stream: Any, name: str) -> list[Any]:
        return [n.data for n in self.agent.record.all if n.sender is stream and n.name == f"FileTransferStream{name}"]

    def outcomes(self) -> list[list[str]]:
        names = ("FileTransferStreamDidFinish", "FileTransferStreamDidNotFinish")
        return [[n for n in self.agent.record.names(one) if n in names] for one in (self.stream, self.other)]

    async def over(self) -> Call:
        """Hang up, and wait for the end of both streams."""
        self.caller.end()
        await self.agent.record.until(self.callee, "DidEnd")
        for one in (self.stream, self.other):
            await self.agent.record.until(one, "MediaStreamDidEnd")
        return self


def contents(path: Path) -> bytes:
    return path.read_bytes()


FINISHED = [["FileTransferStreamDidFinish"]] * 2
NOT_FINISHED = [["FileTransferStreamDidNotFinish"]] * 2


def stored(directory: Path) -> list[str]:
    return sorted(os.listdir(directory)) if directory.exists() else []


@pytest.mark.spec(206, 207, 208, 209, 211, 212)
async def test_the_documented_transfer(agent: Agent, source: Path):
    async with described(source) as selector:
        call = Call(agent, FileTransferStream(agent.account, selector))
        assert (call.stream.account, call.stream.file_selector) == (agent.account, selector)
        assert call.stream.direction == "sendonly"
        other = await call.announced()
        offer = call.callee._invitation.sdp.proposed_remote.media[0]
        assert offer.direction == "sendonly"
        assert offer.attributes.getfirst("file-selector") == selector.sdp_repr
        assert offer.attributes.getfirst("accept-types") == offer.attributes.getfirst("accept-wrapped-types") == "*"
        assert other.file_selector.sdp_repr == selector.sdp_repr
        call.callee.accept([other])
        await call.until(other, "FileTransferStreamDidFinish")
        await call.until(call.stream, "FileTransferStreamDidFinish")
        answer = call.caller._invitation.sdp.active_remote.media[0]
        assert answer.direction == "recvonly"
        assert answer.attributes.getfirst("file-selector") == selector.sdp_repr
        assert answer.attributes.getfirst("file-transfer-id") == call.stream.transfer_id == other.transfer_id
        chunks = call.told(other, "GotChunk")
        assert b"".join(chunk.content for chunk in chunks) == contents(source)
        assert {chunk.content_type for chunk in chunks} == {"application/octet-stream"}
        assert {chunk.file_size for chunk in chunks} == {SIZE}
        assert chunks[-1].transferred_bytes == SIZE
        reports = call.told(call.stream, "DidDeliverChunk")
        assert {(report.code, report.reason, report.file_size) for report in reports} == {(200, "OK", SIZE)}
        assert [report.transferred_bytes for report in reports] == sorted({r.transferred_bytes for r in reports})
        assert reports[-1].transferred_bytes == SIZE
        assert reports[-1].message_id == reports[-1].chunk.message_id
        assert all(hasattr(report, "timestamp") for report in reports + chunks)
        await call.over()
        assert call.outcomes() == FINISHED
        assert await call.stream.finished is None


@pytest.mark.spec(211)
@pytest.mark.parametrize(("transport", "address"), PLACES)
async def test_a_file_is_stored(nothing_left, source: Path, inbox: Path, transport: str, address: str):
    async with running_agent(msrp_settings(transport, address)) as agent, described(source) as selector:
        call = await Call(agent, FileTransferStream(agent.account, selector), address).accepted(inbox)
        assert await call.other.finished == str(inbox / "the file.bin")
        await call.stream.finished
        assert contents(inbox / "the file.bin") == contents(source)
        assert stored(inbox) == ["the file.bin"]
        assert call.told(call.other, "GotChunk") == []
        assert call.told(call.other, "Progress")[-1].transferred_bytes == SIZE
        assert call.other.filename == str(inbox / "the file.bin")
        await call.over()
        assert call.outcomes() == FINISHED


@pytest.mark.parametrize("stores", [True, False])
async def test_an_empty_file(agent: Agent, tmp_path: Path, inbox: Path, stores: bool):
    (tmp_path / "nothing.txt").write_bytes(b"")
    async with described(tmp_path / "nothing.txt") as selector:
        call = await Call(agent, FileTransferStream(agent.account, selector)).accepted(inbox if stores else None)
        await call.stream.finished
        await call.other.finished
        if stores:
            assert contents(inbox / "nothing.txt") == b""
        await call.over()
        assert call.outcomes() == FINISHED


async def test_a_file_that_is_in_memory(agent: Agent, inbox: Path):
    data = os.urandom(5000)
    selector = FileSelector("memory.bin", fd=BytesIO(data))
    call = await Call(agent, FileTransferStream(agent.account, selector)).accepted(inbox)
    await call.other.finished
    assert contents(inbox / "memory.bin") == data
    await call.over()


@pytest.mark.spec(204)
async def test_the_hash_is_computed_before_the_offer(agent: Agent, source: Path, inbox: Path):
    async with described(source, compute_hash=False) as selector:
        call = await Call(agent, FileTransferStream(agent.account, selector)).accepted(inbox)
        digest = hashlib.sha1(contents(source)).digest().hex(":").upper()
        assert call.other.file_selector.hash == f"sha-1:{digest}"
        assert call.told(call.stream, "HashProgress")[-1].processed_bytes == SIZE
        await call.other.finished
        await call.over()


async def test_a_file_that_has_changed_is_not_offered(agent: Agent, source: Path):
    async with described(source) as selector:
        with source.open("ab") as file:
            file.write(b"more")
        call = Call(agent, FileTransferStream(agent.account, selector))
        failed = await call.until(call.stream, "MediaStreamDidFail")
        assert failed.context == "initialize"
        assert failed.reason == f"the file has {SIZE + 4} bytes, its selector says {SIZE}"
        await agent.record.until(call.caller, "DidFail")
        assert (await call.until(call.stream, "FileTransferStreamDidNotFinish")).reason == failed.reason


async def test_a_stream_without_a_file_fails(agent: Agent):
    call = Call(agent, FileTransferStream(agent.account))
    assert "there is no file" in (await call.until(call.stream, "MediaStreamDidFail")).reason
    call = Call(agent, FileTransferStream(agent.account, FileSelector("a", size=3)))
    assert "there is no open file" in (await call.until(call.stream, "MediaStreamDidFail")).reason


@pytest.mark.parametrize("stores", [True, False])
async def test_a_file_is_pulled(agent: Agent, source: Path, inbox: Path, stores: bool):
    async with described(source) as selector:
        wanted = FileSelector("the file.bin")
        call = Call(agent, FileTransferStream.pull(agent.account, wanted, directory=inbox if stores else None))
        other = await call.announced()
        assert (other.direction, other.file_selector.name, other.file_selector.size) == (
            "sendonly",
            "the file.bin",
            None,
        )
        other.provide(selector)
        call.callee.accept([other])
        await call.stream.finished
        await other.finished
        if stores:
            assert call.stream.filename == str(inbox / "the file.bin")
            assert contents(inbox / "the file.bin") == contents(source)
        else:
            parts = [chunk.content for chunk in call.told(call.stream, "GotChunk")]
            assert b"".join(parts) == contents(source)
        assert call.stream.file_selector.hash == selector.hash
        assert call.stream.file_selector.size == SIZE
        await call.over()
        assert call.outcomes() == FINISHED


async def test_nobody_gets_a_file_that_was_not_given(agent: Agent):
    call = Call(agent, FileTransferStream.pull(agent.account, FileSelector("/etc/passwd")))
    await call.accepted()
    assert "there is no open file" in (await call.until(call.other, "MediaStreamDidFail")).reason
    assert (await agent.record.until(call.caller, "DidFail")).code >= 400


async def test_another_file_than_was_asked_for_cannot_be_given(agent: Agent, source: Path):
    async with described(source) as selector:
        call = Call(agent, FileTransferStream.pull(agent.account, FileSelector("other.bin")))
        other = await call.announced()
        with pytest.raises(ValueError, match="not what was asked for"):
            other.provide(selector)
        with pytest.raises(RuntimeError):
            call.stream.provide(selector)
        call.callee.reject()
        await agent.record.until(call.caller, "DidFail")


class Halting:
    """A file whose reading stops at a byte, until it is told to go on."""

    def __init__(self, path: Path, stop: int) -> None:
        self.file = path.open("rb")
        self.stop = stop
        self.size = path.stat().st_size

    def seek(self, *where: int) -> int:
        return self.file.seek(*where)

    def tell(self) -> int:
        return self.file.tell()

    def read(self, size: int) -> bytes:
        if self.file.tell() >= self.stop:
            raise OSError("the test stops here")
        return self.file.read(min(size, self.stop - self.file.tell()))


@asynccontextmanager
async def halting(path: Path, stop: int) -> AsyncIterator[FileSelector]:
    """The selector of a file that cannot be read to its end."""
    async with described(path) as selector:
        halting_file = Halting(path, stop)
        yield FileSelector(
            selector.name, selector.type, selector.size, selector.hash, halting_file, sha256=selector.sha256
        )
        halting_file.file.close()


async def test_an_interrupted_push_is_continued(agent: Agent, source: Path, inbox: Path):
    async with halting(source, 300_000) as selector:
        call = await Call(agent, FileTransferStream(agent.account, selector)).accepted(inbox)
        lost = await call.until(call.stream, "FileTransferStreamDidNotFinish")
        assert "the test stops here" in lost.reason
        lost = await call.until(call.other, "FileTransferStreamDidNotFinish")
        assert lost.reason == "the sender has given it up"
        await call.over()
        assert call.outcomes() == NOT_FINISHED
    assert stored(inbox) == [PARTS]
    async with described(source) as selector:
        call = await Call(agent, FileTransferStream(agent.account, selector)).accepted(inbox)
        assert await call.other.finished == str(inbox / "the file.bin")
        await call.stream.finished
        assert contents(inbox / "the file.bin") == contents(source)
        assert call.stream._message.size == SIZE - 300_000
        assert call.told(call.stream, "DidDeliverChunk")[-1].transferred_bytes == SIZE
        await call.over()
    assert stored(inbox) == ["the file.bin"]


async def test_an_interrupted_pull_is_continued(agent: Agent, source: Path, inbox: Path):
    async with halting(source, 300_000) as selector:
        call = Call(agent, FileTransferStream.pull(agent.account, FileSelector("the file.bin"), directory=inbox))
        (await call.announced()).provide(selector)
        call.callee.accept([call.other])
        await call.until(call.stream, "FileTransferStreamDidNotFinish")
        await call.over()
        wanted = call.stream.file_selector
    async with described(source) as selector:
        call = Call(agent, FileTransferStream.pull(agent.account, wanted, directory=inbox))
        other = await call.announced()
        assert other.remote_file.range.start == 300_001
        other.provide(selector)
        call.callee.accept([other])
        assert await call.stream.finished == str(inbox / "the file.bin")
        assert contents(inbox / "the file.bin") == contents(source)
        await other.finished
        assert other._message.size == SIZE - 300_000
        await call.over()


async def test_a_connection_that_is_cut_is_told_at_both_ends(agent: Agent, source: Path, inbox: Path):
    async with halting(source, 300_000) as selector:
        selector.fd.read = _blocked_read(selector.fd)
        call = await Call(agent, FileTransferStream(agent.account, selector)).accepted(inbox)
        await eventually(lambda: call.told(call.other, "Progress"), "the first bytes")
        connection = call.other.msrp_session.connection
        connection.abort(ConnectionResetError("cut by the test"))
        await call.until(call.other, "FileTransferStreamDidNotFinish")
        await call.until(call.stream, "FileTransferStreamDidNotFinish")
        selector.fd.go_on.set()
        for one in (call.stream, call.other):
            await agent.record.until(one, "MediaStreamDidEnd")
        assert call.outcomes() == NOT_FINISHED
    assert stored(inbox) == [PARTS]


def _blocked_read(file: Halting) -> Any:
    """Reading that waits at the stop instead of failing, so that a transfer is in the middle."""
    file.go_on = threading.Event()
    read = file.read

    def wait_and_read(size: int) -> bytes:
        if file.file.tell() >= file.stop:
            file.go_on.wait(10)
            file.stop = file.size
        return read(size)

    return wait_and_read


@pytest.mark.parametrize("stores", [True, False])
@pytest.mark.parametrize("who", ["sender", "receiver"])
@pytest.mark.parametrize("how", ["cancel", "end"])
async def test_cancelling(agent: Agent, source: Path, inbox: Path, stores: bool, who: str, how: str):
    async with halting(source, 300_000) as selector:
        selector.fd.read = _blocked_read(selector.fd)
        call = await Call(agent, FileTransferStream(agent.account, selector)).accepted(inbox if stores else None)
        await eventually(lambda: call.other.transferred_bytes, "the first bytes")
        if how == "cancel":
            (call.stream if who == "sender" else call.other).cancel()
        else:
            (call.caller if who == "sender" else call.callee).end()
        await call.until(call.stream if who == "sender" else call.other, "FileTransferStreamDidNotFinish")
        selector.fd.go_on.set()
        for one in (call.stream, call.other):
            await call.until(one, "FileTransferStreamDidNotFinish")
            with pytest.raises(FileTransferError):
                await one.finished
        if how == "cancel":
            assert call.caller.state == call.callee.state == "connected"
            call.caller.end()
        for one in (call.stream, call.other):
            await agent.record.until(one, "MediaStreamDidEnd")
        assert call.outcomes() == NOT_FINISHED
    assert stored(inbox) == ([PARTS] if stores else [])


async def test_a_wrong_hash_is_a_failure_at_both_ends(agent: Agent, source: Path, inbox: Path):
    async with described(source) as selector:
        selector.hash = "sha-1:" + ":".join(["AB"] * 20)
        selector.sha256 = None
        call = await Call(agent, FileTransferStream(agent.account, selector)).accepted(inbox)
        assert "the hash of what has come is" in (await call.until(call.other, "FileTransferStreamDidNotFinish")).reason
        told = await call.until(call.stream, "FileTransferStreamDidNotFinish")
        assert told.reason == "the remote does not take the file: 413 not the file that was announced"
        (refused,) = call.told(call.stream, "DidNotDeliverChunk")
        assert (refused.code, refused.reason) == (413, "not the file that was announced")
        await call.over()
        assert call.outcomes() == NOT_FINISHED
    assert stored(inbox) == []


@pytest.mark.spec(210)
async def test_a_disk_that_is_full_is_a_failure_at_both_ends(
    agent: Agent, source: Path, inbox: Path, monkeypatch: pytest.MonkeyPatch
):
    write_at = incoming_file._write_at

    def limited(descriptor: int, data: memoryview, offset: int) -> int:
        if offset >= 300_000:
            raise OSError(28, "No space left on device")
        return write_at(descriptor, data[: 300_000 - offset], offset)

    monkeypatch.setattr(incoming_file, "_write_at", limited)
    async with described(source) as selector:
        call = await Call(agent, FileTransferStream(agent.account, selector)).accepted(inbox)
        told = await call.until(call.other, "FileTransferStreamDidNotFinish")
        assert told.reason == "cannot write the file: No space left on device"
        await call.until(call.stream, "FileTransferStreamDidNotFinish")
        (refused,) = call.told(call.stream, "DidNotDeliverChunk")
        assert (refused.code, refused.chunk.message_id) == (413, refused.message_id)
        assert hasattr(refused, "timestamp")
        await call.over()
        monkeypatch.undo()
        call = await Call(agent, FileTransferStream(agent.account, selector)).accepted(inbox)
        await call.other.finished
        assert contents(inbox / "the file.bin") == contents(source)
        await call.over()


async def test_a_directory_that_cannot_be_used_fails_the_stream_before_it_starts(agent: Agent, source: Path):
    async with described(source) as selector:
        call = await Call(agent, FileTransferStream(agent.account, selector)).accepted(source)
        assert "cannot write to" in (await call.until(call.other, "MediaStreamDidFail")).reason
        await agent.record.until(call.caller, "DidFail")


async def test_a_declined_file_is_no_transfer(agent: Agent, source: Path):
    async with described(source) as selector:
        call = Call(agent, FileTransferStream(agent.account, selector))
        await call.announced()
        call.callee.reject(603, "Decline")
        await agent.record.until(call.caller, "DidFail")
        await call.until(call.stream, "MediaStreamDidEnd")
        with pytest.raises(FileTransferError):
            await call.stream.finished


async def test_a_file_is_added_to_a_call(agent: Agent, source: Path, inbox: Path):
    caller, callee = await agent.talking()
    async with described(source) as selector:
        stream = FileTransferStream(agent.account, selector)
        caller.add_stream(stream)
        proposal = await agent.record.until(callee, "GotProposal")
        (other,) = proposal.streams
        other.directory = inbox
        callee.accept_proposal(proposal.streams)
        await other.finished
        await stream.finished
        assert contents(inbox / "the file.bin") == contents(source)
        await agent.record.until(caller, "DidRenegotiateStreams")
        caller.remove_stream(stream)
        await agent.record.until(caller, "DidRenegotiateStreams", 2)
        assert caller.state == "connected"
        caller.end()
        await agent.record.until(callee, "DidEnd")


async def test_two_files_at_once_from_one_opened_file(agent: Agent, source: Path, inbox: Path):
    async with described(source) as selector:
        streams = [FileTransferStream(agent.account, selector) for _ in range(2)]
        caller = agent.call(*streams, transport="tcp")
        callee = await agent.incoming()
        for stream in callee.proposed_streams:
            stream.directory = inbox
        others = callee.proposed_streams
        callee.accept(others)
        for stream in [*others, *streams]:
            await stream.finished
        assert stored(inbox) == ["the file (1).bin", "the file.bin"]
        for name in stored(inbox):
            assert contents(inbox / name) == contents(source)
        caller.end()
        await agent.record.until(callee, "DidEnd")


async def test_a_file_beside_audio_and_chat(agent: Agent, source: Path, inbox: Path):
    async with described(source) as selector:
        streams = [AudioStream(agent.account), ChatStream(agent.account), FileTransferStream(agent.account, selector)]
        caller = agent.call(*streams, transport="tcp")
        callee = await agent.incoming()
        assert [stream.type for stream in callee.proposed_streams] == ["audio", "chat", "file-transfer"]
        others = callee.proposed_streams
        others[2].directory = inbox
        callee.accept(others)
        await others[2].finished
        await streams[2].finished
        assert contents(inbox / "the file.bin") == contents(source)
        streams[1].send_message("did it arrive?")
        await agent.record.until(others[1], "ChatStreamGotMessage")
        assert caller.state == callee.state == "connected"
        caller.end()
        await agent.record.until(callee, "DidEnd")
        for stream in [*streams, *others]:
            await agent.record.until(stream, "MediaStreamDidEnd")


async def test_a_re_invite_may_not_replace_the_file(agent: Agent, source: Path, inbox: Path):
    async with described(source) as selector:
        call = await Call(agent, FileTransferStream(agent.account, selector)).accepted(inbox)
        await call.stream.finished
        sdp = call.callee._invitation.sdp.active_remote
        assert call.other.validate_update(sdp, 0)
        call.other._description.transfer_id = "another"
        assert not call.other.validate_update(sdp, 0)
        await call.over()


async def test_an_application_that_stops_in_the_middle_leaves_nothing_behind(nothing_left, source: Path, inbox: Path):
    async with halting(source, 300_000) as selector:
        selector.fd.read = _blocked_read(selector.fd)
        async with running_agent(msrp_settings()) as agent:
            call = await Call(agent, FileTransferStream(agent.account, selector)).accepted(inbox)
            await eventually(lambda: call.told(call.other, "Progress"), "the first bytes")
            asyncio.get_running_loop().call_later(0.1, selector.fd.go_on.set)
        assert call.outcomes() == NOT_FINISHED
    assert stored(inbox) == [PARTS]


class HangsUp:
    """Ends a session as soon as its stream tells that the file is there, in the middle of the notification."""

    def __init__(self, stream: FileTransferStream) -> None:
        self.stream = stream
        NotificationCenter().add_observer(self, name="FileTransferStreamDidFinish", sender=stream)

    def handle_notification(self, notification: Notification) -> None:
        NotificationCenter().remove_observer(self, name="FileTransferStreamDidFinish", sender=self.stream)
        self.stream.session.end()


@pytest.mark.parametrize("transport", ["tcp", "tls"])
@pytest.mark.parametrize("stores", [True, False])
@pytest.mark.parametrize("who", ["sender", "receiver"])
async def test_whoever_hangs_up_first_both_have_finished(
    nothing_left, source: Path, inbox: Path, who: str, stores: bool, transport: str
):
    async with running_agent(msrp_settings(transport)) as agent:
        for size in (0, 1, 70_000, SIZE):
            selector = FileSelector("a", fd=BytesIO(contents(source)[:size]))
            call = Call(agent, FileTransferStream(agent.account, selector))
            await call.announced()
            HangsUp(call.stream if who == "sender" else call.other)
            call.other.directory = inbox if stores else None
            call.callee.accept([call.other])
            for one in (call.stream, call.other):
                await agent.record.until(one, "MediaStreamDidEnd")
            assert call.outcomes() == FINISHED
            await agent.record.until(call.caller, "DidEnd")
            await agent.record.until(call.callee, "DidEnd")


async def test_a_call_that_is_given_up_while_the_file_is_hashed_ends_at_once(agent: Agent, source: Path):
    async with halting(source, 0) as selector:
        selector.hash = selector.sha256 = None
        selector.fd.read = _blocked_read(selector.fd)
        call = Call(agent, FileTransferStream(agent.account, selector))
        await eventually(lambda: call.stream.state == "INITIALIZING", "the hashing")
        call.caller.end()
        await agent.record.until(call.stream, "MediaStreamDidEnd")
        assert call.told(call.stream, "HashProgress") == []
        assert len(call.told(call.stream, "DidNotFinish")) == 1
        selector.fd.go_on.set()


@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_a_line_that_breaks_again_and_again(nothing_left, source: Path, inbox: Path, transport: str):
    async with running_agent(msrp_settings(transport)) as agent, described(source) as selector:
        starts = []
        for stop in (100_000, 250_000, 400_000, SIZE):
            halt = Halting(source, stop)
            offered = FileSelector("the file.bin", size=SIZE, hash=selector.hash, fd=halt)
            if stop < SIZE:
                halt.read = _blocked_read(halt)
            call = await Call(agent, FileTransferStream(agent.account, offered)).accepted(inbox)
            if stop < SIZE:
                await call.has_stored(stop - 64 * 1024)
                call.other.msrp_session.connection.abort(ConnectionResetError("cut by the test"))
                for one in (call.stream, call.other):
                    await call.until(one, "FileTransferStreamDidNotFinish")
                halt.go_on.set()
            else:
                await call.stream.finished
                assert await call.other.finished == str(inbox / "the file.bin")
                call.caller.end()
            for one in (call.stream, call.other):
                await agent.record.until(one, "MediaStreamDidEnd")
            starts.append(call.stream.remote_file.range.start)
            halt.file.close()
        assert starts == sorted(set(starts))
        assert contents(inbox / "the file.bin") == contents(source)
        assert stored(inbox) == ["the file.bin"]
