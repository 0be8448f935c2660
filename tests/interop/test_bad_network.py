"""What strangers send to an open port: the agent lives, answers what deserves an answer, and the call goes on."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from sipsimple.core import Engine
from tests.interop.baresip import Baresip
from tests.interop.user_agent import UserAgent, VoiceServer, user_agent
from tests.support.tones import hear, write_tone

SEED = 20260101
OURS, THEIRS = 1000.0, 700.0
SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n"


def request(method: str, uri: str, number: int = 1, body: str = "", transport: str = "UDP", **changes: str) -> bytes:
    """A request as scanners send it; `changes` replace headers (`Content_Length="-1"`)."""
    headers = {
        "Via": f"SIP/2.0/{transport} 127.0.0.1:9;branch=z9hG4bK-{method}-{number};rport",
        "Max-Forwards": "70",
        "From": f'"sipvicious" <sip:100@1.1.1.1>;tag=scan{number}',
        "To": f"<{uri}>",
        "Call-ID": f"scan-{method}-{number}",
        "CSeq": f"{number} {method}",
        "Contact": "<sip:100@127.0.0.1:9>",
        "User-Agent": "friendly-scanner",
    }
    if body:
        headers["Content-Type"] = "application/sdp"
    headers["Content-Length"] = str(len(body))
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [f"{method} {uri} SIP/2.0", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + f"\r\n\r\n{body}").encode()


class Stranger:
    """A UDP socket that sends what it likes to a SIP port."""

    def __init__(self, port: int, sock: socket.socket) -> None:
        self._target = ("127.0.0.1", port)
        self._socket = sock

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendto(self._socket, data, self._target)

    async def ask(self, data: bytes, timeout: float = 5.0) -> int:
        """Send a request; the status of the final response to it, 0 when there is none in time."""
        call_id = next(line for line in data.split(b"\r\n") if line.startswith(b"Call-ID"))
        await self.send(data)
        try:
            async with asyncio.timeout(timeout):
                while True:
                    answer = await asyncio.get_running_loop().sock_recv(self._socket, 65535)
                    status = int(answer.split()[1])
                    if call_id in answer and status >= 200:
                        return status
        except TimeoutError:
            return 0


@contextmanager
def stranger(port: int) -> Iterator[Stranger]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        yield Stranger(port, sock)


@asynccontextmanager
async def unharmed_call(
    directory: Path, caplog: pytest.LogCaptureFixture, transport: str = "udp"
) -> AsyncIterator[UserAgent]:
    """A call with baresip goes on while the block runs, and is as good as if nothing had happened."""
    caplog.set_level(logging.ERROR)
    async with Baresip(directory / "bob", frequency=THEIRS, transport=transport) as bob, user_agent() as alice:
        session = await alice.call(bob.uri)
        recording = directory / "heard.wav"
        async with alice.conversing(session, write_tone(directory / "ours.wav", OURS), recording):
            await bob.has_heard(0.5)
            yield alice
            assert session.state == "connected"
            await bob.has_heard(2.5)
        lost = session.streams[0].statistics["rx"]["packets_lost"]
        await session.end()
        await bob.event("CALL_CLOSED")
        assert lost == 0
        for tone, frequency in ((hear(recording), THEIRS), (bob.heard(), OURS)):
            assert tone.frequency == pytest.approx(frequency, abs=2)
            # A busy machine makes gaps of its own.
            assert tone.purity > 0.9
    assert [record.getMessage() for record in caplog.records] == []


def mutilated() -> Iterator[bytes]:
    """Datagrams that are no SIP messages, or nearly are."""
    dice = random.Random(SEED)
    whole = request("INVITE", "sip:alice@127.0.0.1", body=SDP)
    yield from (whole[:length] for length in range(1, len(whole), 7))
    for _ in range(300):
        yield dice.randbytes(dice.randrange(1, 1500))
    for _ in range(300):
        broken = bytearray(whole)
        for _ in range(dice.randrange(1, 8)):
            broken[dice.randrange(len(broken))] = dice.randrange(256)
        yield bytes(broken)
    uri = "sip:alice@127.0.0.1"
    yield request("INVITE", uri, Content_Length="-1")
    yield request("INVITE", uri, Content_Length="99999999999999999999", body=SDP)
    yield request("INVITE", uri, CSeq="99999999999999999999 INVITE")
    yield request("INVITE", uri, CSeq="1 BYE")
    yield request("INVITE", uri, Via="SIP/2.0/UDP")
    yield request("INVITE", uri, Max_Forwards="-5")
    yield request("INVITE", uri, From="<sip:>;tag=", To="<>")
    yield request("INVITE", uri, Contact="<sip:[::1>")
    yield request("INVITE", "sip:" + "a" * 30_000 + "@127.0.0.1")
    yield request("INVITE", uri, **{f"X_{number}": "x" for number in range(5000)})
    yield request("INVITE", uri, body="v=0\r\nm=audio 99999999 RTP/AVP " + "0 " * 5000 + "\r\n")
    yield request("INVITE", uri, Via=", ".join(["SIP/2.0/UDP 127.0.0.1"] * 2000))
    yield b"SIP/2.0 200 OK\r\n\r\n"
    yield b"SIP/2.0 999999 \xff\xfe\r\nVia: \r\n\r\n"
    yield b"\0" * 2000
    yield b"\r\n" * 500
    yield b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


async def test_malformed_datagrams_harm_no_call(
    nothing_left: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    print("seed", SEED)
    async with unharmed_call(tmp_path, caplog) as alice:
        with stranger(Engine().udp_port) as attacker:
            for datagram in mutilated():
                await attacker.send(datagram)
                # Let the agent read, as it shares our loop.
                await asyncio.sleep(0)
            assert await attacker.ask(request("OPTIONS", "sip:alice@127.0.0.1", 9)) == 200
        # Nearly all of it was refused; what happened to be a proper INVITE may ring, and nobody answers it.
        for session in [n.sender for n in alice.record.all if n.name == "SIPSessionNewIncoming"]:
            await session.end()


def bye(number: int) -> bytes:
    """A BYE for a dialog that never was."""
    return request("BYE", "sip:alice@127.0.0.1", number, To="<sip:alice@127.0.0.1>;tag=guess")


async def test_a_scanner_finds_nobody(nothing_left: None, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with unharmed_call(tmp_path, caplog) as alice:
        with stranger(Engine().udp_port) as attacker:
            for number in range(100, 150):
                assert await attacker.ask(request("OPTIONS", f"sip:{number}@127.0.0.1", number)) == 200
                assert await attacker.ask(request("REGISTER", f"sip:{number}@127.0.0.1", number)) == 405
                assert await attacker.ask(request("INVITE", f"sip:{number}@127.0.0.1", number, SDP)) == 404
                assert await attacker.ask(bye(number)) == 481
        assert "SIPSessionNewIncoming" not in [notification.name for notification in alice.record.all]


async def test_junk_to_the_audio_port_is_not_heard(
    nothing_left: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dice = random.Random(SEED)
    async with unharmed_call(tmp_path, caplog) as alice:
        (session,) = {n.sender for n in alice.record.all if n.name == "SIPSessionDidStart"}
        port = session.streams[0].local_rtp_port
        with stranger(port) as to_audio, stranger(port + 1) as to_control:
            for number in range(2000):
                rtp = b"\x80\x00" + number.to_bytes(2, "big") + dice.randbytes(168)
                await to_audio.send(rtp if number % 2 else dice.randbytes(dice.randrange(1, 400)))
                await to_control.send(b"\x80\xc8" + dice.randbytes(dice.randrange(0, 60)))
                # A thousand per second.
                if number % 20 == 0:
                    await asyncio.sleep(0.02)


HALVES: dict[str, bytes] = {
    "nothing": b"",
    "a word": b"INVITE sip:al",
    "headers without end": request("INVITE", "sip:alice@127.0.0.1", transport="TCP")[:-4],
    "a body that does not come": request("INVITE", "sip:alice@127.0.0.1", transport="TCP", Content_Length="500"),
    "a head without end": b"INVITE sip:alice@127.0.0.1 SIP/2.0\r\nX: " + b"x" * 200_000,
    "no length": request("OPTIONS", "sip:alice@127.0.0.1", transport="TCP").replace(b"Content-Length: 0\r\n", b""),
    "a giant length": request("INVITE", "sip:alice@127.0.0.1", transport="TCP", Content_Length="4000000000"),
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "junk": random.Random(SEED).randbytes(5000),
}


async def test_half_messages_over_tcp_harm_no_call(
    nothing_left: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with unharmed_call(tmp_path, caplog, transport="tcp") as alice:
        connections = []
        for half in list(HALVES.values()) * 5:
            reader, writer = await asyncio.open_connection("127.0.0.1", Engine().tcp_port)
            connections.append((reader, writer))
            writer.write(half)
        options = request("OPTIONS", "sip:alice@127.0.0.1", transport="TCP")
        reader, writer = await asyncio.open_connection("127.0.0.1", Engine().tcp_port)
        connections.append((reader, writer))
        # One octet after the other is a whole message in the end.
        for octet in options:
            writer.write(bytes([octet]))
            await writer.drain()
        async with asyncio.timeout(5):
            assert (await reader.readline()).startswith(b"SIP/2.0 200")
        for number, (_, writer) in enumerate(connections):
            if number % 2:
                writer.transport.abort()
            else:
                writer.close()
        assert "SIPSessionNewIncoming" not in [notification.name for notification in alice.record.all]


async def test_the_voice_server_survives_a_bad_day(tmp_path: Path) -> None:
    async with VoiceServer(tmp_path) as server:
        with stranger(server.udp_port) as attacker:
            for number, datagram in enumerate(mutilated()):
                await attacker.send(datagram)
                if number % 50 == 0:
                    assert await attacker.ask(request("OPTIONS", "sip:echo@127.0.0.1", number)) == 200
            assert await attacker.ask(request("INVITE", "sip:echo@127.0.0.1", 7, "v=0\r\nrubbish")) in (400, 488)
            assert await attacker.ask(request("INVITE", "sip:echo@127.0.0.1", 8, SDP.replace("RTP/AVP", "X/Y"))) == 488
        async with Baresip(tmp_path / "bob", frequency=THEIRS) as bob:
            await bob.dial(f"sip:echo@127.0.0.1:{server.udp_port}")
            await bob.has_heard(1)
            await bob.hang_up()
            await bob.event("CALL_CLOSED")
            assert bob.heard().frequency == pytest.approx(THEIRS, abs=2)
        assert await server.program.stop() == 0, server.program.output
        assert not any("Traceback" in line for line in server.program.lines), server.program.output
