"""What strangers can do to an open port: everything they make grow has an end, and the call in progress goes on."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from sipsimple.core import Engine
from sipsimple.core.stack import stack
from sipsimple.session import Session
from sipsimple.sip.message import Response, parse_message
from tests.support.agent import Agent, eventually
from tests.support.raw_peer import RawPeer, description

SEED = 20260101
HEAD = (
    "{method} {uri} SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK{number};rport\r\n"
    "Max-Forwards: 70\r\n"
    "From: <sip:100@127.0.0.1>;tag=s{number}\r\n"
    "To: <{uri}>\r\n"
    "Call-ID: strange-{number}\r\n"
    "CSeq: 1 {method}\r\n"
    "Contact: <sip:100@127.0.0.1:9>\r\n"
)
STRANGER = "sip:1001@127.0.0.1"
numbers = itertools.count(1)


def message(method: str = "OPTIONS", uri: str = STRANGER, more: str = "", body: str = "") -> bytes:
    """A request of its own transaction; `more` are further header lines."""
    head = HEAD.format(method=method, uri=uri, number=next(numbers)) + more
    if body:
        head += "Content-Type: application/sdp\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


class Stranger:
    """A UDP socket that sends what it likes, and reads what comes back."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._target = ("127.0.0.1", Engine().udp_port)

    def send(self, data: bytes) -> None:
        self._socket.sendto(data, self._target)

    async def answers(self) -> list[Response]:
        """The final responses that came until now; whatever was sent before has been handled."""
        probe = message()
        self.send(probe)
        call_id = parse_message(probe).call_id
        found: list[Response] = []
        async with asyncio.timeout(10):
            while True:
                answer = parse_message(await asyncio.get_running_loop().sock_recv(self._socket, 65535))
                assert isinstance(answer, Response)
                if answer.call_id == call_id:
                    return found
                if answer.code >= 200:
                    found.append(answer)

    async def ask(self, data: bytes) -> int:
        """The code that a request is answered with, 0 when it is not."""
        self.send(data)
        codes = {answer.code for answer in await self.answers()}
        return codes.pop() if codes else 0


@contextmanager
def stranger() -> Iterator[Stranger]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        yield Stranger(sock)


@asynccontextmanager
async def unharmed_call(agent: Agent) -> AsyncIterator[tuple[Session, Session]]:
    """A call that goes on while the block runs, and can be put on hold and ended afterwards."""
    caller, callee = await agent.talking()
    yield caller, callee
    assert caller.state == callee.state == "connected"
    caller.hold()
    await agent.record.until(callee, "DidChangeHoldState")
    await caller.end()
    await agent.record.until(callee, "DidEnd")


@pytest.fixture(autouse=True)
def nothing_goes_wrong_inside(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What strangers do is no error of ours: nothing is logged as one."""
    caplog.set_level(logging.ERROR)
    yield
    assert [record.getMessage() for record in caplog.get_records("call")] == []


async def test_a_flood_of_invites_to_nobody_is_put_off(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sipsimple.sip.layer.tables.MAX_SERVER_TRANSACTIONS", 100)
    async with unharmed_call(agent) as (caller, _):
        with stranger() as attacker:
            for _ in range(300):
                attacker.send(message("INVITE", body=description()))
                await asyncio.sleep(0)
            await eventually(lambda: stack().endpoint.statistics.overloaded >= 200, "refusals")
            codes = [answer.code for answer in await heard(attacker)]
            assert set(codes) == {404, 503}
            assert len(stack().endpoint.tables.servers) <= 90
            # A request of the call still has room.
            caller.hold()
            await agent.record.until(caller, "DidChangeHoldState")
            caller.unhold()
            await agent.record.until(caller, "DidChangeHoldState", 2)
        stack().endpoint.tables.clear()


async def heard(attacker: Stranger) -> list[Response]:
    """All final responses so far, also while the agent takes no further request."""
    found = []
    loop = asyncio.get_running_loop()
    while True:
        try:
            async with asyncio.timeout(0.1):
                answer = parse_message(await loop.sock_recv(attacker._socket, 65535))
        except TimeoutError:
            return found
        assert isinstance(answer, Response)
        if answer.code == 503:
            assert answer.headers.get("Retry-After") == "10"
        if answer.code >= 200:
            found.append(answer)


async def test_calls_that_nobody_answers_have_a_limit(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sipsimple.core.router.MAX_UNANSWERED_CALLS", 20)
    async with unharmed_call(agent):
        alice = f"sip:alice@127.0.0.1:{Engine().udp_port}"
        with stranger() as attacker:
            for _ in range(50):
                attacker.send(message("INVITE", alice, body=description()))
            refused = await attacker.answers()
            assert [(answer.code, answer.headers.get("Retry-After")) for answer in refused] == [(503, "10")] * 30
            ringing = [n.sender for n in agent.record.all if n.name == "SIPSessionNewIncoming"][1:]
            assert len(ringing) == 20
            assert stack().endpoint.statistics.overloaded == 30
            # Who is refused makes room for another.
            for session in ringing:
                session.reject(486)
            await eventually(lambda: not stack().router.unanswered, "refusals")
            attacker.send(message("INVITE", alice, body=description()))
            (await agent.incoming()).reject(486)


async def test_calls_have_a_limit(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sipsimple.core.router.MAX_CALLS", 2)
    async with unharmed_call(agent):
        with stranger() as attacker:
            alice = f"sip:alice@127.0.0.1:{Engine().udp_port}"
            assert await attacker.ask(message("INVITE", alice, body=description())) == 503
    await eventually(lambda: stack().router._calls == 0, "the end of both")


async def test_ten_thousand_random_datagrams(agent: Agent) -> None:
    print("seed", SEED)
    dice = random.Random(SEED)
    pattern = message("INVITE", body=description())
    async with unharmed_call(agent):
        with stranger() as attacker:
            for number in range(10_000):
                if number % 2:
                    data = bytearray(pattern)
                    for _ in range(dice.randrange(1, 10)):
                        data[dice.randrange(len(data))] = dice.randrange(256)
                else:
                    data = bytearray(dice.randbytes(dice.randrange(1, 600)))
                attacker.send(bytes(data))
                if number % 50 == 0:
                    # Let the agent read, as it shares our loop.
                    await asyncio.sleep(0)
            with RawPeer() as raw:
                raw.request("OPTIONS")
                await raw.response(200)


# Nobody is answered (0) when not even what an answer must repeat is of a reasonable size.
OVERSIZED = {
    "a via of 10 kB": (0, message(more=f"Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{'a' * 10_000}\r\n")),
    "a thousand vias": (0, message(more="Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n" * 1000)),
    "a hundred headers": (200, message(more="X-Own: y\r\n" * 100)),
    "a thousand headers": (513, message(more="X-Own: y\r\n" * 1000)),
    "a header of 30 kB": (513, message(more=f"X-Own: {'y' * 30_000}\r\n")),
    "an address of 30 kB": (0, message(uri=f"sip:{'a' * 30_000}@127.0.0.1")),
    "a body of 60 kB": (200, message(body="x" * 60_000)),
    "a thousand routes": (513, message(more=f"Route: {', '.join(['<sip:192.0.2.1;lr>'] * 1000)}\r\n")),
    "a session description of 60 kB": (400, message("INVITE", body="v=0\r\n" + "a=x\r\n" * 12_000)),
    "a thousand media": (400, message("INVITE", body=description() + "m=audio 9 RTP/AVP 0\r\n" * 1000)),
    "ten thousand formats": (400, message("INVITE", body=f"v=0\r\nm=audio 9 RTP/AVP {'0 ' * 10_000}\r\n")),
}


@pytest.mark.parametrize("what", OVERSIZED)
async def test_what_is_too_large_is_refused(agent: Agent, what: str) -> None:
    expected, data = OVERSIZED[what]
    with stranger() as attacker:
        assert await attacker.ask(data) == expected


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections are looked at every few milliseconds, and have half a second for a message."""
    monkeypatch.setattr("sipsimple.sip.transport.stream.MESSAGE_TIMEOUT", 0.5)
    monkeypatch.setattr("sipsimple.sip.transport.pool.SWEEP_INTERVAL", 0.02)


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What comes on a connection until the agent ends it."""
    received = b""
    async with asyncio.timeout(5):
        try:
            while data := await reader.read(4096):
                received += data
        except ConnectionResetError:
            pass
    return received


STALLED = {
    "says nothing": b"",
    "stops in its first line": b"INVITE sip:al",
    "stops in its headers": message()[:-20],
    "owes the body": message().replace(b"Content-Length: 0", b"Content-Length: 500"),
    "stops after a good message": message().replace(b"UDP", b"TCP") + b"OPTIONS",
}


@pytest.mark.parametrize("what", STALLED)
async def test_a_connection_that_stalls_is_ended(impatient: None, agent: Agent, what: str) -> None:
    async with unharmed_call(agent):
        reader, writer = await asyncio.open_connection("127.0.0.1", Engine().tcp_port)
        writer.write(STALLED[what])
        answer = await ended(reader)
        assert answer.startswith(b"SIP/2.0 200") if "good" in what else answer == b""
        assert stack().endpoint.statistics.connections_timed_out == 1
        writer.close()


async def test_a_message_that_trickles_in_has_to_be_whole_in_time(impatient: None, agent: Agent) -> None:
    async with unharmed_call(agent):
        reader, writer = await asyncio.open_connection("127.0.0.1", Engine().tcp_port)

        async def trickle() -> None:
            while True:
                writer.write(b"INVITE sip:alice@127.0.0.1 SIP/2.0\r\n" if not writer.transport.is_closing() else b"")
                await asyncio.sleep(0.05)

        trickling = asyncio.create_task(trickle())
        assert await ended(reader) == b""
        trickling.cancel()
        await asyncio.wait([trickling])
        assert stack().endpoint.statistics.connections_timed_out == 1
        writer.close()


async def test_connections_have_a_limit(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sipsimple.sip.transport.pool.MAX_CONNECTIONS", 10)
    async with unharmed_call(agent):
        opened = [await asyncio.open_connection("127.0.0.1", Engine().tcp_port) for _ in range(10)]
        for _, writer in opened:
            writer.write(message().replace(b"UDP", b"TCP"))
        for reader, _ in opened:
            assert (await reader.readline()).startswith(b"SIP/2.0 200")
        for _ in range(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", Engine().tcp_port)
            assert await ended(reader) == b""
            writer.close()
        assert stack().endpoint.statistics.connections_refused == 20
        for _, writer in opened:
            writer.close()
            await writer.wait_closed()

        async def accepted() -> bool:
            reader, writer = await asyncio.open_connection("127.0.0.1", Engine().tcp_port)
            writer.write(message().replace(b"UDP", b"TCP"))
            answer = await ended(reader) if writer.transport.is_closing() else await reader.readline()
            writer.close()
            return answer.startswith(b"SIP/2.0 200")

        async with asyncio.timeout(5):
            while not await accepted():
                pass


async def test_who_does_not_read_is_not_written_to_without_end(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sipsimple.sip.transport.stream.MAX_WRITE_BUFFER", 64 * 1024)
    async with unharmed_call(agent):
        deaf = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", Engine().tcp_port))
        deaf.setblocking(False)
        loop = asyncio.get_running_loop()
        with deaf:
            try:
                async with asyncio.timeout(20):
                    while not stack().endpoint.statistics.connections_overrun:
                        await loop.sock_sendall(deaf, message().replace(b"UDP", b"TCP") * 50)
            except ConnectionError:
                pass
        assert stack().endpoint.statistics.connections_overrun == 1


async def test_a_scanner_learns_little(agent: Agent) -> None:
    more = "User-Agent: friendly-scanner\r\n"
    async with unharmed_call(agent):
        with stranger() as scanner:
            for user in range(100, 120):
                uri = f"sip:{user}@127.0.0.1"
                assert await scanner.ask(message("OPTIONS", uri, more)) == 200
                assert await scanner.ask(message("REGISTER", uri, more)) == 405
                assert await scanner.ask(message("INVITE", uri, more, description())) == 404
                assert await scanner.ask(message("SUBSCRIBE", uri, more + "Event: presence\r\n")) == 489
                assert await scanner.ask(message("BYE", uri, more).replace(b">\r\nCall", b">;tag=x\r\nCall")) == 481
        assert len([n for n in agent.record.all if n.name == "SIPSessionNewIncoming"]) == 1


ABSURD = {
    "rubbish": (400, "v=0\r\nrubbish"),
    "a port that is none": (400, description().replace(" 9 ", " 99999999 ")),
    "no media": (488, description().partition("m=")[0]),
    "another network": (488, description().replace("x-contract", "x-unknown")),
    "half": (400, description()[:30]),
    "binary": (400, "\x00\x01\x02" * 100),
}


@pytest.mark.parametrize("what", ABSURD)
async def test_an_absurd_description_is_refused(agent: Agent, what: str) -> None:
    expected, body = ABSURD[what]
    alice = f"sip:alice@127.0.0.1:{Engine().udp_port}"
    with stranger() as attacker:
        attacker.send(message("INVITE", alice, body=body))
        codes = {answer.code for _ in range(3) for answer in await attacker.answers()}
        assert codes == {expected}
