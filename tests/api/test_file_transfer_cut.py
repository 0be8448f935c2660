"""Files that do not arrive at the first attempt: cut off, cancelled, wrong, or too much for the disk."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sipsimple.application import SIPApplication
from sipsimple.configuration.backend.memory import MemoryBackend
from sipsimple.notification import NotificationCenter
from sipsimple.streams import FileSelector, FileTransferStream
from sipsimple.streams.msrp import incoming_file
from sipsimple.streams.msrp.incoming_file import PARTS, FileTransferError
from tests.support.agent import Agent, Record, eventually, running_agent
from tests.support.file_calls import (
    NOT_FINISHED,
    SIZE,
    Call,
    Halting,
    blocked_read,
    contents,
    described,
    halting,
    stored,
)
from tests.support.msrp_agent import msrp_settings


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


@pytest.fixture
async def agent(nothing_left: None) -> AsyncIterator[Agent]:
    async with running_agent(msrp_settings()) as agent:
        yield agent


def part_size(inbox: Path) -> int:
    """How much is there of the file that was cut off; what had not been written when reading failed is not."""
    assert stored(inbox) == [PARTS]
    (part,) = (inbox / PARTS).iterdir()
    assert 0 < part.stat().st_size <= 300_000
    return part.stat().st_size


async def test_an_interrupted_push_is_continued(agent: Agent, source: Path, inbox: Path):
    async with halting(source, 300_000) as selector:
        call = await Call(agent, FileTransferStream(agent.account, selector)).accepted(inbox)
        lost = await call.until(call.stream, "FileTransferStreamDidNotFinish")
        assert "the test stops here" in lost.reason
        lost = await call.until(call.other, "FileTransferStreamDidNotFinish")
        assert lost.reason == "the sender has given it up"
        await call.over()
        assert call.outcomes() == NOT_FINISHED
    there = part_size(inbox)
    async with described(source) as selector:
        call = await Call(agent, FileTransferStream(agent.account, selector)).accepted(inbox)
        assert await call.other.finished == str(inbox / "the file.bin")
        await call.stream.finished
        assert contents(inbox / "the file.bin") == contents(source)
        assert call.stream._message.size == SIZE - there
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
        wanted, there = call.stream.file_selector, part_size(inbox)
    async with described(source) as selector:
        call = Call(agent, FileTransferStream.pull(agent.account, wanted, directory=inbox))
        other = await call.announced()
        assert other.remote_file.range.start == there + 1
        other.provide(selector)
        call.callee.accept([other])
        assert await call.stream.finished == str(inbox / "the file.bin")
        assert contents(inbox / "the file.bin") == contents(source)
        await other.finished
        assert other._message.size == SIZE - there
        await call.over()


async def test_a_connection_that_is_cut_is_told_at_both_ends(agent: Agent, source: Path, inbox: Path):
    async with halting(source, 300_000) as selector:
        selector.fd.read = blocked_read(selector.fd)
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


@pytest.mark.parametrize("stores", [True, False])
@pytest.mark.parametrize("who", ["sender", "receiver"])
@pytest.mark.parametrize("how", ["cancel", "end"])
async def test_cancelling(agent: Agent, source: Path, inbox: Path, stores: bool, who: str, how: str):
    async with halting(source, 300_000) as selector:
        selector.fd.read = blocked_read(selector.fd)
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


async def test_an_application_that_stops_in_the_middle_keeps_what_there_is(nothing_left, source: Path, inbox: Path):
    record = Record()
    NotificationCenter().add_observer(record)
    async with halting(source, 300_000) as selector:
        selector.fd.read = blocked_read(selector.fd)
        async with SIPApplication.running(MemoryBackend(msrp_settings())) as application:
            agent = Agent(application, record)
            call = await Call(agent, FileTransferStream(agent.account, selector)).accepted(inbox)
            await eventually(lambda: call.told(call.other, "Progress"), "the first bytes")
            asyncio.get_running_loop().call_later(0.1, selector.fd.go_on.set)
        for one in (call.stream, call.other):
            record.data(one, "MediaStreamDidEnd")
        assert call.outcomes() == NOT_FINISHED
    NotificationCenter().remove_observer(record)
    assert stored(inbox) == [PARTS]


async def test_a_call_that_is_given_up_while_the_file_is_hashed_ends_at_once(agent: Agent, source: Path):
    async with halting(source, 0) as selector:
        selector.hash = selector.sha256 = None
        selector.fd.read = blocked_read(selector.fd)
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
                halt.read = blocked_read(halt)
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
