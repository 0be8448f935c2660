"""Files from and to a party that is written message by message: older, hostile, or in an unlucky order."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from sipsimple.streams import FileSelector, FileTransferStream
from sipsimple.streams.msrp.incoming_file import FileTransferError
from sipsimple.util import Route
from tests.support.agent import Agent, running_agent
from tests.support.msrp_agent import msrp_settings
from tests.support.msrp_party import OWN, MSRPParty, path_of
from tests.support.raw_peer import RawPeer

DATA = bytes(range(256)) * 20
DIGEST = hashlib.sha1(DATA).digest().hex(":").upper()
# As the contract shows it: sha1 without a dash, no id, no range.
SELECTOR = f'name:"data.bin" type:com.adobe.pdf size:{len(DATA)} hash:sha1:{DIGEST}'
SDP = """v=0
o=- 3467525166 3467525166 IN IP4 127.0.0.1
s=raw
c=IN IP4 127.0.0.1
t=0 0
m=message {port} TCP/MSRP *
a=path:{path}
a={direction}
a=accept-types:*
a=accept-wrapped-types:*
a=file-selector:{selector}
"""


def description(selector: str = SELECTOR, direction: str = "sendonly", more: str = "", path: str = OWN) -> str:
    return (
        SDP.format(selector=selector, direction=direction, path=path, port=path.split(":")[2].split("/", maxsplit=1)[0])
        + more
    )


@pytest.fixture
async def agent(nothing_left: None) -> AsyncIterator[Agent]:
    async with running_agent(msrp_settings()) as agent:
        yield agent


class Offer:
    """A file that the raw party offers, accepted."""

    def __init__(self, agent: Agent, peer: RawPeer) -> None:
        self.agent = agent
        self.peer = peer
        self.stream: Any = None
        self.session: Any = None
        self.msrp: Any = None

    async def __aenter__(self) -> Offer:
        return self

    async def accept(self, directory: Path | None, text: str | None = None) -> MSRPParty:
        self.peer.request("INVITE", text or description())
        self.session = await self.agent.incoming()
        (self.stream,) = self.session.proposed_streams
        self.stream.directory = directory
        self.session.accept([self.stream])
        self.answer = await self.peer.response(200)
        self.peer.request("ACK", cseq=self.peer.cseq)
        self.msrp = await MSRPParty.connect(self.answer.body)
        return self.msrp

    async def until(self, name: str) -> Any:
        return await self.agent.record.until(self.stream, f"FileTransferStream{name}")

    async def __aexit__(self, *_: object) -> None:
        if self.session.state != "terminated":
            self.session.end()
            self.peer.respond(await self.peer.expect("BYE"), 200)
        self.msrp.close()
        await self.agent.record.until(self.stream, "MediaStreamDidEnd")


@pytest.fixture
async def offer(agent: Agent) -> AsyncIterator[Offer]:
    with RawPeer() as peer:
        async with Offer(agent, peer) as offer:
            yield offer


def whole(size: int = len(DATA)) -> str:
    return f"1-{size}/{size}"


async def test_a_party_that_knows_the_example_of_the_contract_only(offer: Offer, tmp_path: Path):
    msrp = await offer.accept(tmp_path)
    assert b"a=file-range" not in offer.answer.body
    assert b"a=recvonly" in offer.answer.body
    msrp.send(DATA[:2000], f"1-2000/{len(DATA)}", "+")
    msrp.send(DATA[2000:], f"2001-{len(DATA)}/{len(DATA)}", "$")
    reports = await msrp.reports(f"-{len(DATA)}/{len(DATA)}")
    assert {status for _, status in reports} == {"000 200 OK"}
    assert (tmp_path / "data.bin").read_bytes() == DATA
    await offer.until("DidFinish")
    assert offer.stream.file_selector.hash == f"sha-1:{DIGEST}"


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("../../../etc/passwd", "passwd"),
        ("/etc/cron.d/evil", "evil"),
        ("..", "file"),
        (".bash_profile", "bash_profile"),
        ("CON", "_CON"),
        ("a%00%0D%0A%22b", "a___\N{LOW LINE}b"),
        ("%2e%2e%2fx", "x"),
        ("invoice\N{RIGHT-TO-LEFT OVERRIDE}fdp.exe", "invoice_fdp.exe"),
        ("x" * 3000 + ".txt", "x" * 196 + ".txt"),
    ],
)
async def test_hostile_names(offer: Offer, tmp_path: Path, name: str, stored: str):
    inbox = tmp_path / "a" / "b"
    msrp = await offer.accept(inbox, description(f'name:"{name}" size:{len(DATA)}'))
    msrp.send(DATA, whole())
    await offer.until("DidFinish")
    assert os.listdir(inbox) == [stored]
    assert offer.stream.filename == str(inbox / stored)
    assert os.listdir(tmp_path) == ["a"]
    assert os.listdir(tmp_path / "a") == ["b"]


@pytest.mark.parametrize("stores", [True, False])
@pytest.mark.parametrize(
    ("data", "byte_range", "flag"),
    [
        (DATA + b"?", f"1-{len(DATA) + 1}/*", "$"),
        (DATA, f"1-{len(DATA)}/{len(DATA) + 1}", "+"),
        (b"?", f"{len(DATA) + 1}-*/*", "+"),
    ],
)
async def test_more_than_announced_is_refused(
    offer: Offer, tmp_path: Path, stores: bool, data: bytes, byte_range: str, flag: str
):
    msrp = await offer.accept(tmp_path if stores else None)
    msrp.send(data, byte_range, flag)
    assert "more than the" in (await offer.until("DidNotFinish")).reason
    names = offer.agent.record.names(offer.stream)
    assert "FileTransferStreamGotChunk" not in names
    assert os.listdir(tmp_path) == []
    if flag == "+":
        msrp.send(b"and on and on", "1-13/13", "+")
        while (answer := await msrp.next()) is not None and answer.code is None:
            pass
        assert answer is not None
        assert answer.code == 413


@pytest.mark.parametrize("stores", [True, False])
async def test_fewer_than_announced_is_no_file(offer: Offer, tmp_path: Path, stores: bool):
    msrp = await offer.accept(tmp_path if stores else None)
    msrp.send(DATA[:-1], f"1-{len(DATA) - 1}/{len(DATA) - 1}")
    told = await offer.until("DidNotFinish")
    assert told.reason == f"the file has ended after {len(DATA) - 1} bytes, {len(DATA)} were announced"
    assert os.listdir(tmp_path) == []


async def test_a_file_of_unknown_size_ends_with_its_message(offer: Offer, tmp_path: Path):
    msrp = await offer.accept(tmp_path, description('name:"a"'))
    msrp.send(DATA[:100], "1-100/*", "+")
    msrp.send(DATA[100:], "101-*/*", "$")
    await offer.until("DidFinish")
    assert (tmp_path / "a").read_bytes() == DATA


async def test_a_second_message_is_refused(offer: Offer, tmp_path: Path):
    msrp = await offer.accept(tmp_path)
    msrp.send(DATA[:100], f"1-100/{len(DATA)}", "+")
    msrp.send(b"other", "1-5/5", "$", message_id="file-2")
    assert (await msrp.response()).code == 413
    msrp.send(DATA[100:], f"101-{len(DATA)}/{len(DATA)}", "$")
    await offer.until("DidFinish")
    assert (tmp_path / "data.bin").read_bytes() == DATA


async def test_a_file_in_an_envelope_fails_the_stream(offer: Offer, tmp_path: Path):
    msrp = await offer.accept(tmp_path)
    msrp.send(b"From: <sip:a@b>\r\n\r\nContent-Type: text/plain\r\n\r\nx", "1-48/48", Content_Type="message/cpim")
    assert (await msrp.response()).code == 415
    failed = await offer.agent.record.until(offer.stream, "MediaStreamDidFail")
    assert (failed.context, failed.reason) == ("reading", "the file came wrapped in message/cpim")


@pytest.mark.parametrize(
    "text",
    [
        description(direction="sendrecv"),
        description(direction="inactive"),
        description(more="a=file-range:100-*\n"),
        description(more="a=file-range:1-100\n"),
        description(more="a=file-range:what\n"),
        description(more="a=file-transfer-id:a b\n"),
        description("x" * 9000),
    ],
)
async def test_offers_that_cannot_be_accepted_are_refused(agent: Agent, text: str):
    with RawPeer() as peer:
        peer.request("INVITE", text)
        await peer.response(488)
        peer.request("ACK", cseq=peer.cseq)


@pytest.mark.parametrize("started", [True, False])
async def test_a_bye_right_behind_the_last_byte_leaves_both_sides_of_one_mind(
    offer: Offer, tmp_path: Path, started: bool
):
    msrp = await offer.accept(tmp_path)
    if started:
        await offer.agent.record.until(offer.stream, "MediaStreamDidStart")
    msrp.send(DATA, whole())
    offer.peer.request("BYE")
    reports = await msrp.reports(f"-{len(DATA)}/{len(DATA)}")
    await msrp.end()
    await offer.agent.record.until(offer.stream, "MediaStreamDidEnd")
    finished = "FileTransferStreamDidFinish" in offer.agent.record.names(offer.stream)
    assert finished == bool(reports) == (os.listdir(tmp_path) == ["data.bin"])


# We send


class Sent:
    """A file that we offer to the raw party, and have sent whole."""

    def __init__(self, agent: Agent, peer: RawPeer) -> None:
        self.agent = agent
        self.peer = peer

    async def begin(self, more: str = "") -> None:
        arrived: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.server = await asyncio.start_server(lambda *ends: arrived.set_result(ends), "127.0.0.1", 0)
        own = f"msrp://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/raw;tcp"
        self.stream = FileTransferStream(
            self.agent.account, FileSelector("data.bin", size=len(DATA), hash=f"sha-1:{DIGEST}", fd=BytesIO(DATA))
        )
        self.session = self.agent.call(self.stream, routes=[Route("127.0.0.1", self.peer.port)])
        invite = await self.peer.expect("INVITE")
        self.peer.respond(invite, 200, "OK", description(direction="recvonly", path=own, more=more))
        await self.peer.expect("ACK")
        self.msrp = MSRPParty(*await arrived, path_of(invite.body), own)
        binding = await self.msrp.next()
        assert binding is not None
        self.msrp.answer(binding)

    async def whole(self, more: str = "") -> bytes:
        """What comes until the end of the message."""
        await self.begin(more)
        received = b""
        while (chunk := await self.msrp.next()) is not None:
            received += chunk.data
            self.message_id = chunk.message_id
            if chunk.continuation == "$" and chunk.ends_chunk:
                break
        return received

    async def over(self) -> list[str]:
        """How the transfer ended, once the stream has."""
        await self.msrp.end()
        await self.agent.record.until(self.stream, "MediaStreamDidEnd")
        self.server.close()
        names = self.agent.record.names(self.stream)
        return [name for name in names if name.startswith("FileTransferStreamDid") and "Chunk" not in name]

    async def bye(self) -> None:
        self.peer.request("BYE")
        await self.peer.response(200)


@pytest.fixture
async def sent(agent: Agent) -> AsyncIterator[Sent]:
    with RawPeer() as peer:
        yield Sent(agent, peer)


FINISHED = ["FileTransferStreamDidFinish"]
NOT_FINISHED = ["FileTransferStreamDidNotFinish"]


async def test_reports_that_come_after_the_bye_are_still_success(sent: Sent):
    assert await sent.whole() == DATA
    await sent.bye()
    await sent.agent.record.until(sent.stream, "MediaStreamWillEnd")
    sent.msrp.report(sent.message_id, whole())
    assert await sent.over() == FINISHED
    assert await sent.stream.finished is None


async def test_a_file_that_was_sent_whole_cannot_be_cancelled_any_more(sent: Sent):
    assert await sent.whole() == DATA
    sent.stream.cancel()
    sent.msrp.report(sent.message_id, whole())
    await sent.stream.finished
    await sent.bye()
    assert await sent.over() == FINISHED


async def test_without_reports_a_bye_is_no_success(sent: Sent):
    assert await sent.whole() == DATA
    sent.msrp.report(sent.message_id, f"1-100/{len(DATA)}")
    await sent.agent.record.until(sent.stream, "FileTransferStreamDidDeliverChunk")
    await sent.bye()
    sent.msrp.close()
    assert await sent.over() == NOT_FINISHED


async def test_a_failure_that_is_reported_after_the_bye_is_a_failure(sent: Sent):
    assert await sent.whole() == DATA
    await sent.bye()
    sent.msrp.report(sent.message_id, whole(), "000 413 no room")
    assert await sent.over() == NOT_FINISHED
    with pytest.raises(FileTransferError, match="413 no room"):
        await sent.stream.finished


async def test_reports_in_any_order_and_in_parts(sent: Sent):
    assert await sent.whole() == DATA
    for byte_range in ("2001-3000", "1-1000", f"3001-{len(DATA)}", "501-1500"):
        sent.msrp.report(sent.message_id, f"{byte_range}/{len(DATA)}")
    await sent.agent.record.until(sent.stream, "FileTransferStreamDidDeliverChunk", 4)
    assert not sent.stream.finished.done()
    sent.msrp.report(sent.message_id, f"1501-2000/{len(DATA)}")
    await sent.agent.record.until(sent.stream, "FileTransferStreamDidFinish")
    await sent.bye()
    assert await sent.over() == FINISHED


async def test_a_receiver_that_knows_no_ranges_gets_the_whole_file(sent: Sent):
    assert await sent.whole("a=file-range:1-*\n") == DATA
    sent.msrp.report(sent.message_id, whole())
    await sent.bye()
    await sent.over()


async def test_a_receiver_gets_the_part_that_it_asks_for(sent: Sent):
    assert await sent.whole(f"a=file-range:1001-{len(DATA)}\n") == DATA[1000:]
    sent.msrp.report(sent.message_id, whole(len(DATA) - 1000))
    told = await sent.agent.record.until(sent.stream, "FileTransferStreamDidDeliverChunk")
    assert (told.transferred_bytes, told.file_size) == (len(DATA), len(DATA))
    await sent.bye()
    assert await sent.over() == FINISHED


@pytest.mark.parametrize("more", [f"a=file-range:{len(DATA) + 2}-*\n", f"a=max-size:{len(DATA) - 1}\n"])
async def test_a_receiver_that_cannot_have_the_file_fails_the_stream(agent: Agent, more: str):
    with RawPeer() as peer:
        selector = FileSelector("data.bin", size=len(DATA), hash=f"sha-1:{DIGEST}", fd=BytesIO(DATA))
        stream = FileTransferStream(agent.account, selector)
        agent.call(stream, routes=[Route("127.0.0.1", peer.port)])
        invite = await peer.expect("INVITE")
        peer.respond(invite, 200, "OK", description(direction="recvonly", more=more))
        failed = await agent.record.until(stream, "MediaStreamDidFail")
        assert failed.context == "sdp_negotiation"
        peer.respond(await peer.expect("BYE"), 200)


async def test_a_part_that_there_is_not_is_not_given(agent: Agent):
    with RawPeer() as peer:
        peer.request("INVITE", description('name:"data.bin"', "recvonly", "a=file-range:999999-*\n"))
        session = await agent.incoming()
        (stream,) = session.proposed_streams
        stream.provide(FileSelector("data.bin", fd=BytesIO(DATA)))
        session.accept([stream])
        assert "wants the bytes 999999-*" in (await agent.record.until(stream, "MediaStreamDidFail")).reason
        while (await peer.receive()).code < 400:
            pass
        peer.request("ACK", cseq=peer.cseq)


async def test_a_refusal_stops_the_sender(sent: Sent):
    await sent.begin()
    chunk = await sent.msrp.next()
    assert chunk is not None
    sent.msrp.answer(chunk, 413)
    told = await sent.agent.record.until(sent.stream, "FileTransferStreamDidNotDeliverChunk")
    assert (told.code, told.message_id, told.chunk.code) == (413, chunk.message_id, 413)
    await sent.bye()
    assert await sent.over() == NOT_FINISHED


async def test_who_receives_cannot_send(sent: Sent):
    await sent.begin()
    sent.msrp.send(b"hello", "1-5/5", Failure_Report="yes")
    assert (await sent.msrp.response()).code == 413
    await sent.bye()
    await sent.over()
