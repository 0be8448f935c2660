"""Files between two applications: pushed, pulled, added to calls, and what is documented of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import pytest

from sipsimple.notification import Notification, NotificationCenter
from sipsimple.streams import AudioStream, ChatStream, FileSelector, FileTransferStream
from sipsimple.streams.msrp.incoming_file import FileTransferError
from tests.support.agent import Agent, running_agent
from tests.support.file_calls import (
    FINISHED,
    SIZE,
    Call,
    contents,
    described,
    stored,
)
from tests.support.msrp_agent import msrp_settings

PLACES = [("tcp", "127.0.0.1"), ("tls", "127.0.0.1"), ("tcp", "::1"), ("tls", "::1")]


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
