"""Control characters in what strangers send: told to the application as they are, kept from the terminal."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sipsimple.sip.message import Request, Response, parse_message
from sipsimple.util import Route
from tests.support.agent import Agent
from tests.support.raw_peer import RawPeer, description

COMMAND = (sys.executable, "-m", "sipsimple.cli")
EVIL = "\x1b]0;owned\x07\x1b[2J\x08\x9b31m"
"""Sets the title of the terminal, clears it, and changes the colour in two ways."""
AUDIO = description("audio").replace("TCP/X *", "RTP/AVP 0").replace("\n", "\r\n")
TIMEOUT = 30.0
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


async def test_names_and_reasons_are_told_as_they_came(agent: Agent) -> None:
    with RawPeer() as raw:
        raw.send(
            f"INVITE sip:alice@127.0.0.1:{raw.target[1]} SIP/2.0\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{raw.port};branch=z9hG4bKevil;rport\n"
            f'From: "{EVIL}" <sip:evil@127.0.0.1>;tag={raw.tag}\n'
            f"To: <sip:alice@127.0.0.1>\nCall-ID: evil\nCSeq: 1 INVITE\nMax-Forwards: 70\n"
            f"Contact: <sip:raw@127.0.0.1:{raw.port}>\nUser-Agent: {EVIL}\n",
            description(),
        )
        session = await agent.incoming()
        assert session.remote_identity.display_name == EVIL
        # What we send back repeats it, on one line.
        session.reject(486)
        busy = await raw.response(486)
        assert busy.from_.display_name == EVIL
        assert len(busy.headers.get_all("From")) == 1
    with RawPeer() as raw:
        session = agent.call(routes=[Route("127.0.0.1", raw.port)])
        raw.respond(await raw.expect("INVITE"), 486, f"{EVIL}Busy")
        assert (await agent.record.until(session, "DidFail")).reason == f"{EVIL}Busy"


class Peer:
    """A bare UDP party of the command."""

    def __init__(self, transport: asyncio.DatagramTransport, received: asyncio.Queue[Any]) -> None:
        self._transport = transport
        self._received = received
        self.port: int = transport.get_extra_info("sockname")[1]
        self.address: tuple[str, int] = ("127.0.0.1", 0)

    def send(self, text: str, body: str = "") -> None:
        kind = "Content-Type: application/sdp\r\n" if body else ""
        text = text.replace("\n", "\r\n") + f"{kind}Content-Length: {len(body)}\r\n\r\n{body}"
        self._transport.sendto(text.encode("utf-8", "surrogateescape"), self.address)

    async def receive(self, what: str | int) -> Any:
        """The next request of this method, or response of this code."""
        async with asyncio.timeout(TIMEOUT):
            while True:
                message, self.address = await self._received.get()
                if what == (message.method if isinstance(message, Request) else message.code):
                    return message


class _Reader(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.received: asyncio.Queue[tuple[Request | Response, tuple[str, int]]] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if data.strip():
            self.received.put_nowait((parse_message(data), addr))


@asynccontextmanager
async def peer() -> AsyncIterator[Peer]:
    loop = asyncio.get_running_loop()
    transport, reader = await loop.create_datagram_endpoint(_Reader, local_addr=("127.0.0.1", 0))
    yield Peer(transport, reader.received)
    transport.close()


async def start(config: Path, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(*COMMAND, "--config", str(config), *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def output(process: asyncio.subprocess.Process) -> str:
    """All that it has said, at its end."""
    async with asyncio.timeout(TIMEOUT):
        out, _ = await process.communicate()
    return out.decode()


@pytest.mark.parametrize("trace", [(), ("--trace", "sip,notifications")], ids=["quiet", "traced"])
async def test_a_reason_does_not_reach_the_terminal_of_the_caller(tmp_path: Path, trace: tuple[str, ...]) -> None:
    async with peer() as callee:
        target = f"sip:bob@127.0.0.1:{callee.port}"
        process = await start(tmp_path / "config", "call", target, "--bind", "127.0.0.1", *trace)
        invite = await callee.receive("INVITE")
        callee.send(
            f"SIP/2.0 486 {EVIL}Busy\nVia: {invite.headers.get('Via')}\nFrom: {invite.headers.get('From')}\n"
            f"To: {invite.headers.get('To')};tag=x\nCall-ID: {invite.call_id}\nCSeq: {invite.headers.get('CSeq')}\n"
            f'Server: {EVIL}\nReason: SIP;cause=486;text="{EVIL}"\n'
        )
        await callee.receive("ACK")
        said = await output(process)
    assert process.returncode != 0
    assert "Busy" in said or "owned" in said
    assert CONTROL.findall(said) == []


@pytest.mark.parametrize("trace", [(), ("--trace", "sip,notifications")], ids=["quiet", "traced"])
async def test_a_name_does_not_reach_the_terminal_of_the_called_party(tmp_path: Path, trace: tuple[str, ...]) -> None:
    ports = ("--bind", "127.0.0.1", "--udp-port", "0", "--no-tcp", "--verbose")
    process = await start(tmp_path / "config", "answer", *ports, *trace)
    assert process.stdout is not None
    async with peer() as caller:
        async with asyncio.timeout(TIMEOUT):
            while (ready := re.search(r"udp:127\.0\.0\.1:(\d+)", (await process.stdout.readline()).decode())) is None:
                pass
        caller.address = ("127.0.0.1", int(ready[1]))

        def request(method: str, number: int, to_tag: str = "", more: str = "", body: str = "") -> None:
            caller.send(
                f"{method} sip:bob@127.0.0.1:{ready[1]} SIP/2.0\n"
                f"Via: SIP/2.0/UDP 127.0.0.1:{caller.port};branch=z9hG4bK{method}{number};rport\n"
                f'From: "{EVIL}" <sip:%1b[31m{EVIL[-3:]}@127.0.0.1>;tag=evil\nTo: <sip:bob@127.0.0.1>{to_tag}\n'
                f"Call-ID: evil\nCSeq: {number} {method}\nMax-Forwards: 70\nUser-Agent: {EVIL}\n"
                f"Contact: <sip:x@127.0.0.1:{caller.port}>\n{more}",
                body,
            )

        request("INVITE", 1, body=AUDIO)
        tag = f";tag={(await caller.receive(200)).to.tag}"
        request("ACK", 1, tag)
        request("BYE", 2, tag, f'Reason: SIP;cause=200;text="{EVIL}"\n')
        await caller.receive(200)
        process.send_signal(signal.SIGTERM)
        said = await output(process)
    assert process.returncode == 0
    assert "answered 1 calls" in said
    assert CONTROL.findall(said) == []
