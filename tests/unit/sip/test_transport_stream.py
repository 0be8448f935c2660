"""Stream connections: reuse, keep-alives, limits in time and in size, and the way back when they are gone."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from sipsimple.sip.transport import ConnectionLost, Destination, SendError, pool, stream
from tests.conftest import tasks_left
from tests.unit.sip.endpoint_kit import TIME_LIMIT, Peer, make_request, peers, until, wire_request


@pytest.fixture(autouse=True)
def quick_sweep(monkeypatch):
    monkeypatch.setattr(pool, "SWEEP_INTERVAL", 0.02)


class BareTCP:
    """A TCP connection without any SIP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def receive(self, end: bytes = b"\r\n\r\n") -> bytes:
        async with asyncio.timeout(TIME_LIMIT):
            return await self.reader.readuntil(end)

    async def ended(self) -> None:
        """Wait until the remote has closed it."""
        async with asyncio.timeout(TIME_LIMIT):
            with contextlib.suppress(ConnectionResetError):
                while await self.reader.read(65536):
                    pass


@contextlib.asynccontextmanager
async def connected(destination: Destination) -> AsyncIterator[BareTCP]:
    reader, writer = await asyncio.open_connection(*destination.address)
    try:
        yield BareTCP(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[tuple[Destination, Callable[[], Any]]]:
    """A server without any SIP, and how to wait for who connects to it."""
    arrivals: asyncio.Queue[BareTCP] = asyncio.Queue()
    opened: list[asyncio.StreamWriter] = []

    async def arrive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)
        arrivals.put_nowait(BareTCP(reader, writer))

    server = await asyncio.start_server(arrive, "127.0.0.1", 0)
    try:
        yield Destination("tcp", *server.sockets[0].getsockname()), arrivals.get
    finally:
        server.close()
        for writer in opened:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def tcp_request(port: int = 9, method: str = "OPTIONS", branch: str = "z9hG4bKraw") -> bytes:
    return wire_request(method, via=f"SIP/2.0/TCP 127.0.0.1:{port};branch={branch}", Call_ID=branch)


async def test_requests_to_one_address_share_a_connection():
    async with peers("tcp") as (client, server, destination):
        sources = set()
        for number in range(3):
            client.endpoint.send_request(make_request(call_id=str(number)), destination, client)
        for _ in range(3):
            transaction, _request = await server.next("request")
            sources.add(server.endpoint.destination_of(transaction))
            await client.responses(200)
        assert client.endpoint.has_connection(destination)
        assert len(sources) <= 1 or sources == {None}


async def test_request_goes_back_by_the_connection_that_the_other_side_made():
    async with peers("tcp") as (client, server, destination):
        server.answer = None
        client.endpoint.send_request(make_request(), destination, client)
        transaction, _ = await server.next("request")
        source = server.endpoint.destination_of(transaction)
        server.endpoint.send_request(make_request(), source, server)
        assert (await client.next("request"))[1].method == "OPTIONS"


async def test_messages_that_arrive_in_pieces_and_in_a_row_are_taken():
    async with peers("tcp") as (_, server, destination), connected(destination) as bare:
        for byte in tcp_request():
            bare.writer.write(bytes([byte]))
            await bare.writer.drain()
        assert b" 200 OK" in await bare.receive()
        bare.writer.write(tcp_request(branch="z9hG4bKa") + tcp_request(branch="z9hG4bKb"))
        assert b"z9hG4bKa" in await bare.receive()
        assert b"z9hG4bKb" in await bare.receive()
        assert server.kinds() == ["request"] * 3


async def test_response_finds_its_way_by_the_via_when_its_connection_is_gone():
    async with peers("tcp") as (_, server, destination), listening() as (home, arrival):
        server.answer = None
        async with connected(destination) as bare:
            bare.writer.write(tcp_request(home.port))
            transaction, _request = await server.next("request")
        await server.next("lost")
        server.respond(transaction, 200)
        async with asyncio.timeout(TIME_LIMIT):
            back = await arrival()
        assert (await back.receive()).startswith(b"SIP/2.0 200 OK")


async def test_response_that_finds_no_way_is_told():
    async with peers("tcp") as (_, server, destination):
        server.answer = None
        with socket.create_server(("127.0.0.1", 0)) as closed_soon:
            port = closed_soon.getsockname()[1]
        async with connected(destination) as bare:
            bare.writer.write(tcp_request(port, "INVITE"))
            transaction, _request = await server.next("request")
        await server.next("lost")
        server.respond(transaction, 180)
        assert (await server.next("transport error"))[0] is transaction


async def test_ping_is_answered_with_a_pong():
    async with peers("tcp") as (_, server, destination), connected(destination) as bare:
        bare.writer.write(b"\r\n\r\n")
        assert await bare.receive(b"\r\n") == b"\r\n"
        assert server.endpoint.statistics.keep_alives == 1


async def test_keep_alive_that_is_answered_keeps_the_connection(monkeypatch):
    monkeypatch.setattr(stream, "PONG_TIMEOUT", 0.05)
    async with peers("tcp") as (client, server, destination):
        client.endpoint.send_request(make_request(), destination, client)
        await client.responses(200)
        for number in range(1, 4):
            client.endpoint.keep_alive(destination)
            await until(lambda number=number: server.endpoint.statistics.keep_alives == number)
        assert client.endpoint.has_connection(destination)


async def test_keep_alive_without_an_answer_ends_the_connection(monkeypatch):
    monkeypatch.setattr(stream, "PONG_TIMEOUT", 0.05)
    client = Peer()
    async with listening() as (destination, _arrival):
        await client.endpoint.listen("tcp", "127.0.0.1", 0)
        client.endpoint.send_request(make_request("INVITE"), destination, client)
        await until(lambda: client.endpoint.has_connection(destination))
        client.endpoint.keep_alive(destination)
        await client.next("transport error")
        lost, error = await client.next("lost")
        assert lost == destination
        assert not error.orderly
        with pytest.raises(ConnectionLost):
            client.endpoint.keep_alive(destination)
        assert client.endpoint.statistics.connections_timed_out == 1
        await client.endpoint.close()


async def test_call_in_progress_outlives_the_orderly_end_of_its_connection():
    client = Peer()
    async with listening() as (destination, arrival):
        port = await client.endpoint.listen("tcp", "127.0.0.1", 0)
        client.endpoint.send_request(make_request("INVITE"), destination, client)
        remote = await arrival()
        lines = (await remote.receive()).split(b"\r\n")
        copied = [line for line in lines if line.split(b":")[0] in {b"Via", b"From", b"To", b"Call-ID", b"CSeq"}]

        def response(status: bytes) -> bytes:
            return b"\r\n".join([b"SIP/2.0 " + status, *copied, b"Content-Length: 0", b"", b""])

        remote.writer.write(response(b"180 Ringing"))
        await client.responses(180)
        remote.writer.close()
        await client.next("lost")
        async with connected(Destination("tcp", "127.0.0.1", port)) as anew:
            anew.writer.write(response(b"486 Busy Here"))
            await client.responses(486)
        await client.endpoint.close()


async def test_reset_connection_fails_a_request_that_nobody_has_answered():
    client = Peer()
    async with listening() as (destination, arrival):
        await client.endpoint.listen("tcp", "127.0.0.1", 0)
        client.endpoint.send_request(make_request(), destination, client)
        (await arrival()).writer.transport.abort()
        error = (await client.next("transport error"))[1]
        assert isinstance(error, ConnectionLost)
        await client.endpoint.close()


async def test_slow_sender_is_cut_off(monkeypatch):
    monkeypatch.setattr(stream, "MESSAGE_TIMEOUT", 0.05)
    async with peers("tcp") as (_, server, destination), connected(destination) as bare:
        bare.writer.write(b"OPTIONS sip:")
        await bare.ended()
        assert server.endpoint.statistics.connections_timed_out == 1


async def test_body_that_never_comes_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(stream, "MESSAGE_TIMEOUT", 0.05)
    async with peers("tcp") as (_, server, destination), connected(destination) as bare:
        bare.writer.write(tcp_request() + tcp_request().replace(b"Content-Length: 0", b"Content-Length: 9"))
        assert b" 200 OK" in await bare.receive()
        await bare.ended()
        assert server.kinds() == ["request", "lost"]


async def test_connection_on_which_nothing_comes_is_cut_off(monkeypatch):
    monkeypatch.setattr(stream, "MESSAGE_TIMEOUT", 0.05)
    async with peers("tcp") as (_, _server, destination), connected(destination) as bare:
        await bare.ended()


async def test_unused_connection_is_closed(monkeypatch):
    monkeypatch.setattr(stream, "IDLE_TIMEOUT", 0.05)
    async with peers("tcp") as (_, server, destination), connected(destination) as bare:
        bare.writer.write(tcp_request())
        await bare.ended()
        assert server.endpoint.statistics.connections_idle_closed == 1


async def test_stream_that_cannot_be_followed_is_closed():
    async with peers("tcp") as (_, server, destination), connected(destination) as bare:
        bare.writer.write(tcp_request() + b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
        assert b" 200 OK" in await bare.receive()
        await bare.ended()
        assert server.endpoint.statistics.malformed == 1


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (tcp_request().replace(b"Content-Length: 0\r\n", b""), b"400 "),
        (tcp_request().replace(b"Content-Length: 0", b"Content-Length: 0\r\nContent-Length: 7"), b"400 "),
        (tcp_request().replace(b"Content-Length: 0", b"Content-Length: 99999999"), b"513 "),
        (tcp_request()[:-2] + b"Subject: x\r\n" * 4000, b"513 "),
        (tcp_request()[:-2] + b"no header\r\n\r\n", b"400 "),
    ],
)
async def test_request_that_ends_nobody_knows_where_is_refused_before_the_stream_is_closed(request_bytes, status):
    async with peers("tcp") as (_, server, destination), connected(destination) as bare:
        bare.writer.write(request_bytes)
        answer = await bare.receive()
        assert answer.startswith(b"SIP/2.0 " + status)
        assert b"\r\nVia: SIP/2.0/TCP " in answer
        await bare.ended()
        assert server.kinds() == ["lost"]
        assert server.endpoint.statistics.rejected == 1


async def test_connections_over_the_limit_are_refused(monkeypatch):
    monkeypatch.setattr(pool, "MAX_CONNECTIONS", 2)
    async with peers("tcp") as (_, server, destination):
        async with connected(destination) as first, connected(destination) as second:
            for number, bare in enumerate((first, second)):
                bare.writer.write(tcp_request(branch=f"z9hG4bK{number}"))
                await bare.receive()
            async with connected(destination) as third:
                await third.ended()
            assert server.endpoint.statistics.connections_refused == 1
            with pytest.raises(SendError, match="connections already"):
                server.endpoint.send_stateless(make_request("ACK"), destination._replace(port=9))
        await until(lambda: not server.endpoint.has_connection(destination))


async def test_remote_that_does_not_read_is_cut_off(monkeypatch):
    monkeypatch.setattr(stream, "MAX_WRITE_BUFFER", 200_000)
    monkeypatch.setattr(pool, "MAX_WRITE_BUFFER", 200_000)
    client = Peer()
    async with listening() as (destination, arrival):
        await client.endpoint.listen("tcp", "127.0.0.1", 0)
        large = make_request("ACK", body=b"x" * 50_000)
        client.endpoint.send_stateless(large, destination)
        (await arrival()).reader._transport.pause_reading()
        await until(lambda: client.endpoint.has_connection(destination))
        with pytest.raises(ConnectionLost):
            for _ in range(1000):
                client.endpoint.send_stateless(large, destination)
        assert client.endpoint.statistics.connections_overrun == 1
        await client.next("lost")
        await client.endpoint.close()


async def test_remotes_that_do_not_read_share_what_may_wait_for_them_all(monkeypatch):
    monkeypatch.setattr(stream, "FREE_BACKLOG", 20_000)
    monkeypatch.setattr(stream, "MAX_BACKLOG", 200_000)
    client = Peer()
    async with listening() as (first, first_arrival), listening() as (second, second_arrival):
        await client.endpoint.listen("tcp", "127.0.0.1", 0)
        large, small = (make_request("ACK", body=b"x" * size) for size in (50_000, 100))
        for destination, arrival in ((first, first_arrival), (second, second_arrival)):
            client.endpoint.send_stateless(large, destination)
            (await arrival()).reader._transport.pause_reading()
            await until(lambda destination=destination: client.endpoint.has_connection(destination))
        with pytest.raises(ConnectionLost):
            for _ in range(1000):
                client.endpoint.send_stateless(large, first)
        assert client.endpoint.statistics.connections_overrun == 1
        client.endpoint.send_stateless(small, second)
        with pytest.raises(ConnectionLost):
            for _ in range(1000):
                client.endpoint.send_stateless(large, second)
        await client.endpoint.close()


async def test_queue_for_a_connection_that_is_being_made_is_bounded(monkeypatch):
    monkeypatch.setattr(pool, "MAX_WRITE_BUFFER", 1000)
    async with peers("tcp") as (client, _, destination):
        with pytest.raises(SendError, match="waits for the connection"):
            for _ in range(10):
                client.endpoint.send_stateless(make_request("ACK"), destination)


async def test_connection_that_cannot_be_made_in_time_fails(monkeypatch):
    monkeypatch.setattr(pool, "CONNECT_TIMEOUT", 0.05)
    client = Peer()
    with socket.socket() as full, contextlib.ExitStack() as others:
        # With its backlog full, the kernel answers no further SYN.
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        destination = Destination("tcp", *full.getsockname())
        for _ in range(3):
            filler = others.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(destination.address)
        await client.endpoint.listen("tcp", "127.0.0.1", 0)
        client.endpoint.send_request(make_request(), destination, client)
        await client.next("transport error")
        await client.endpoint.close()
        assert not tasks_left()
