"""Sessions over real sockets: both ways, TLS, shared connections, back-pressure, and how they end."""

import asyncio
import contextlib
import errno
import hashlib
import io
import logging
import resource
import socket
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from sipsimple.msrp import (
    ActiveConnector,
    BindRefused,
    ConnectionPool,
    DataReceived,
    Disconnected,
    Fingerprint,
    Hooks,
    Listener,
    MalformedChunk,
    MessageAccepted,
    MessageDelivered,
    MessageFailed,
    MessageSent,
    MSRPConnectError,
    MSRPSession,
    MSRPTimeoutError,
    PassiveConnector,
    RequestReceived,
    Security,
    SessionClosed,
    SessionOptions,
    TLSVerifyError,
    UnusableCertificate,
    open_connection,
)
from sipsimple.msrp.connection import new_transaction_id
from sipsimple.msrp.listener import MAX_HALF_OPEN
from sipsimple.msrp.message import MSRPData
from sipsimple.msrp.uri import MSRPURI
from tests.support.certificates import private

from .conftest import TIME_LIMIT, Log, Pair, make_certificate

TEXT = "text/plain"
ASSEMBLE = {"options": SessionOptions(assemble=True)}


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class Stranger:
    """A plain connection to a listener."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return reader, self._writer

    async def __aexit__(self, *_: object) -> None:
        self._writer.transport.abort()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


async def listener_and_session(**options):
    listener = await Listener.open("127.0.0.1", **options)
    local = MSRPURI("127.0.0.1", listener.port, "bobs")
    log = Log()
    session = MSRPSession([local], [MSRPURI("127.0.0.1", 2855, "alices")], log, new_id=new_transaction_id)
    listener.expect(session)
    return listener, session, log


def first_send(session: MSRPSession, **changes: str) -> bytes:
    headers = {"To-Path": str(session.local_uri), "From-Path": str(session.remote_path[0]), "Message-ID": "m1"}
    return MSRPData("first1", method="SEND", headers=headers | changes).encode()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_messages_flow_both_ways(host):
    pair = await Pair.open(host)
    pair.alice.send(b"hello", TEXT, success_report=True)
    pair.bob.send(b"hi", TEXT, success_report=True)
    assert [event.chunk.data for event in await pair.bob_log.wait(DataReceived)] == [b"hello"]
    assert [event.chunk.data for event in await pair.alice_log.wait(DataReceived)] == [b"hi"]
    assert (await pair.alice_log.wait(MessageDelivered))[0].is_complete
    assert (await pair.bob_log.wait(MessageDelivered))[0].is_complete
    await pair.close()
    assert pair.alice_log.events[-1] == pair.bob_log.events[-1] == Disconnected(None)


async def test_a_thousand_messages_each_way_arrive_in_order_and_are_reported(pair):
    texts = [b"%d" % number for number in range(1000)]
    for text in texts:
        pair.alice.send(text, TEXT, success_report=True, failure_report="partial")
        pair.bob.send(text, TEXT, success_report=True, failure_report="partial")
    for log in (pair.alice_log, pair.bob_log):
        assert [event.chunk.data for event in await log.wait(DataReceived, 1000)] == texts
        assert all(event.is_complete for event in await log.wait(MessageDelivered, 1000))
        assert log.of(MessageFailed) == []


async def test_a_file_is_read_in_threads_and_a_short_message_overtakes_it():
    pair = await Pair.open(bob=ASSEMBLE)
    data = b"0123456789" * 800_000
    readers = set()

    class File(io.BytesIO):
        def read(self, size=-1):
            readers.add(threading.current_thread())
            return super().read(size)

    pair.alice.send(File(data), "application/octet-stream", size=len(data), success_report=True)
    pair.alice.send(b"short", TEXT)
    received = await pair.bob_log.wait(DataReceived, 2)
    assert [event.chunk.content_type for event in received] == [TEXT, "application/octet-stream"]
    assert hashlib.sha1(received[1].chunk.data).digest() == hashlib.sha1(data).digest()
    assert threading.main_thread() not in readers
    await pair.close()


@pytest.mark.parametrize("failure", [OSError(5, "Input/output error"), None])
async def test_a_file_that_cannot_be_read_fails_its_message_alone(pair, failure):
    class File(io.BytesIO):
        def read(self, size=-1):
            if failure is not None and self.tell():
                raise failure
            return super().read(100)

    message = pair.alice.send(File(bytes(150)), "application/octet-stream", size=1000)
    (event,) = await pair.alice_log.wait(MessageFailed)
    assert event.message is message
    assert ("Input/output error" if failure else "150 of 1000") in event.reason
    pair.alice.send(b"still here", TEXT)
    await pair.bob_log.wait(DataReceived)


async def test_who_does_not_read_stops_the_sender_and_nothing_is_lost(pair):
    size = 30_000_000
    pair.bob.pause_reading()

    class Zeros:
        taken = 0

        def read(self, limit):
            count = min(limit, size - self.taken)
            self.taken += count
            return bytes(count)

    source = Zeros()
    pair.alice.send(source, "application/octet-stream", size=size, failure_report="no")
    settled = -1
    while source.taken != settled or not source.taken:
        settled = source.taken
        await asyncio.sleep(0.2)
    assert settled < size
    pair.bob.resume_reading()
    await pair.alice_log.wait(MessageSent)
    await pair.bob_log.until(lambda: sum(len(event.chunk.data) for event in pair.bob_log.of(DataReceived)) == size)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not tell how much memory we use")
async def test_a_large_transfer_needs_no_memory(pair):
    size, step = 200_000_000, 1_000_000
    sent, received = hashlib.sha1(), hashlib.sha1()

    class Source:
        left = size

        def read(self, limit):
            block = bytes([self.left // step % 256]) * min(limit, self.left)
            self.left -= len(block)
            sent.update(block)
            return block

    def take(event):
        if isinstance(event, DataReceived):
            received.update(event.chunk.data)
        elif isinstance(event, Disconnected):
            pair.bob_log(event)

    pair.bob._on_event = take
    before = resident_bytes()
    pair.alice.send(Source(), "application/octet-stream", size=size, success_report=True, failure_report="partial")
    peak = before
    async with asyncio.timeout(50):
        while not any(event.is_complete for event in pair.alice_log.of(MessageDelivered)):
            await pair.alice_log.wait(MessageDelivered, len(pair.alice_log.of(MessageDelivered)) + 1)
            peak = max(peak, resident_bytes())
    assert received.digest() == sent.digest()
    assert peak - before < 20_000_000


async def test_close_lets_what_was_queued_arrive(pair):
    for number in range(100):
        pair.alice.send(b"%d" % number, TEXT, failure_report="no")
    pair.alice.send(bytes(1_000_000), TEXT, failure_report="no")
    await pair.alice.close()
    await pair.bob_log.wait(Disconnected)
    received = pair.bob_log.of(DataReceived)
    assert [event.chunk.data for event in received[:100]] == [b"%d" % number for number in range(100)]
    assert sum(len(event.chunk.data) for event in received[100:]) == 1_000_000
    assert pair.bob_log.events[-1] == Disconnected(None)


async def test_flush_waits_for_the_socket(pair):
    messages = [pair.alice.send(bytes(100_000), TEXT) for _ in range(20)]
    await pair.alice.flush()
    assert all(message.is_sent for message in messages)
    await pair.bob.flush()
    await pair.alice.close()
    await pair.alice.flush()


async def test_close_does_not_wait_for_ever_for_who_does_not_read(pair):
    pair.bob.pause_reading()
    message = pair.alice.send(bytes(50_000_000), TEXT)
    async with asyncio.timeout(TIME_LIMIT):
        await pair.alice.close(timeout=0.1)
    (failure,) = pair.alice_log.of(MessageFailed) or await pair.alice_log.wait(MessageFailed)
    assert failure.message is message
    with pytest.raises(SessionClosed):
        pair.alice.send(b"late", TEXT)


async def test_a_connection_that_breaks_ends_the_session_and_fails_its_messages(pair):
    message = pair.alice.send(b"x" * 10, TEXT, success_report=True)
    pair.bob.connection.abort(ConnectionResetError("cable pulled"))
    (event,) = await pair.alice_log.wait(MessageFailed)
    assert event.message is message
    await pair.alice_log.wait(Disconnected)
    (gone,) = await pair.bob_log.wait(Disconnected)
    assert str(gone.error) == "cable pulled"


async def test_requests_of_other_methods_are_awaited():
    pair = await Pair.open(bob={"options": SessionOptions(methods=["NICKNAME"])})
    asking = asyncio.ensure_future(pair.alice.request("NICKNAME", {"Use-Nickname": '"Al"'}))
    (event,) = await pair.bob_log.wait(RequestReceived)
    assert event.chunk.headers["Use-Nickname"] == '"Al"'
    pair.bob.respond(event.chunk, 425)
    response = await asking
    assert (response.code, response.comment) == (425, "Nickname Reserved Or Already In Use")
    await pair.close()


async def test_requests_end_without_an_answer_when_the_session_does(pair):
    asking = asyncio.ensure_future(pair.alice.request("NICKNAME", {}))
    await asyncio.sleep(0)
    pair.alice.connection.abort(ConnectionResetError("cable pulled"))
    assert await asking is None
    with pytest.raises(SessionClosed):
        await pair.alice.request("NICKNAME", {})


async def test_success_is_reported_by_the_user_when_the_data_is_safe():
    pair = await Pair.open(bob={"options": SessionOptions(report_success=False)})
    pair.alice.send(b"hello", TEXT, success_report=True, failure_report="no")
    (event,) = await pair.bob_log.wait(DataReceived)
    pair.bob.report(event.chunk, 200, event.chunk.byte_range)
    assert (await pair.alice_log.wait(MessageDelivered))[0].is_complete
    await pair.close()
    pair.bob.report(event.chunk, 200, event.chunk.byte_range)


async def test_the_receiver_stops_a_message(pair):
    class Endless:
        def read(self, size):
            return bytes(size)

    message = pair.alice.send(Endless(), "application/octet-stream")
    (event, *_) = await pair.bob_log.wait(DataReceived)
    pair.bob.refuse(event.chunk.message_id)
    (failure,) = await pair.alice_log.wait(MessageFailed)
    assert (failure.message, failure.code, failure.reason) == (message, 413, "Stop Sending Message")


async def test_the_sender_gives_up_a_message(pair):
    class Endless:
        def read(self, size):
            return bytes(size)

    message = pair.alice.send(Endless(), "application/octet-stream")
    await pair.bob_log.wait(DataReceived)
    pair.alice.abort(message)
    await pair.bob_log.until(lambda: pair.bob_log.of(DataReceived)[-1].chunk.continuation == "#")
    assert [event.message for event in await pair.alice_log.wait(MessageFailed)] == [message]


async def test_a_keep_alive_disturbs_nobody(pair):
    pair.alice.keep_alive()
    pair.alice.send(b"after", TEXT)
    await pair.alice_log.wait(MessageAccepted)
    assert [event.chunk.data for event in pair.bob_log.of(DataReceived)] == [b"after"]


async def test_what_a_handler_raises_harms_nobody(pair):
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["exception"]))
    received = []

    def handle(event):
        if isinstance(event, DataReceived):
            received.append(event.chunk.data)
            raise ZeroDivisionError

    pair.bob._on_event = handle
    pair.alice.send(b"1", TEXT)
    pair.alice.send(b"2", TEXT, success_report=True)
    await pair.alice_log.wait(MessageDelivered)
    assert received == [b"1", b"2"]
    assert [type(error) for error in complaints] == [ZeroDivisionError] * 2


async def test_sessions_share_a_connection_and_it_goes_with_the_last():
    listener = await Listener.open("127.0.0.1")
    pool = ConnectionPool()
    sessions = []
    for number in range(3):
        local = MSRPURI("127.0.0.1", listener.port, f"bob{number}")
        alice_log, bob_log = Log(), Log()
        active = ActiveConnector("127.0.0.1", pool=pool)
        bob = MSRPSession([local], await active.prepare(), bob_log, new_id=new_transaction_id)
        listener.expect(bob)
        sessions.append((await active.complete([local], alice_log), bob, alice_log, bob_log))
    connections = {alice.connection for alice, *_ in sessions}
    assert len(connections) == 1
    for number, (alice, _, _, bob_log) in enumerate(sessions):
        alice.send(b"%d" % number, TEXT)
        assert [event.chunk.data for event in await bob_log.wait(DataReceived)] == [b"%d" % number]
    (connection,) = connections
    for index, (alice, bob, *_) in enumerate(sessions):
        assert not connection.closed.done()
        if index == 2:
            await asyncio.gather(alice.close(), bob.close())
        else:
            await alice.close()
    assert connection.closed.done()
    await pool.close()
    await listener.close()


# TLS


async def test_a_certificate_with_the_announced_fingerprint_is_trusted(certificate):
    security = Security(certificate=certificate)
    for algorithm in ("sha-1", "sha-256"):
        pair = await Pair.open(security=security, fingerprints=[security.fingerprint(algorithm)], bob=ASSEMBLE)
        assert pair.alice.local_uri.scheme == pair.bob.local_uri.scheme == "msrps"
        pair.alice.send(bytes(1_000_000), TEXT, success_report=True)
        assert len((await pair.bob_log.wait(DataReceived))[0].chunk.data) == 1_000_000
        await pair.close()
        assert pair.bob_log.events[-1] == Disconnected(None)


async def test_another_fingerprint_is_not_trusted(certificate):
    security = Security(certificate=certificate)
    other = Security(certificate=make_certificate()).fingerprint()
    with pytest.raises(TLSVerifyError) as raised:
        await Pair.open(security=security, fingerprints=[other])
    assert raised.value.check == "fingerprint"


@pytest.mark.parametrize(
    ("changes", "trusted", "check"),
    [({}, False, "chain"), ({"host": "127.0.0.2"}, True, "host name"), ({"ends": -1}, True, "validity")],
)
async def test_a_failed_verification_says_which_check(changes, trusted, check):
    pem = make_certificate(**changes)
    authorities = pem if trusted else make_certificate()
    with pytest.raises(TLSVerifyError) as raised:
        await Pair.open(security=Security(certificate=pem), alice_security=Security(authorities=authorities))
    assert raised.value.check == check


async def test_authorities_vouch_for_a_certificate(certificate):
    pair = await Pair.open(security=Security(certificate=certificate), alice_security=Security(authorities=certificate))
    await pair.close()


async def test_without_verification_any_certificate_will_do(certificate):
    pair = await Pair.open(security=Security(certificate=certificate), alice_security=Security(verify=False))
    await pair.close()


async def test_listening_over_tls_needs_a_certificate():
    with pytest.raises(UnusableCertificate, match="without a certificate"):
        await PassiveConnector("127.0.0.1", security=Security()).prepare()
    with pytest.raises(UnusableCertificate):
        await PassiveConnector("127.0.0.1", security=Security(certificate=b"nonsense")).prepare()
    with pytest.raises(UnusableCertificate):
        Security(certificate=b"nonsense").fingerprint()


def test_certificates_that_cannot_be_used_say_why():
    certificate = make_certificate()
    key = serialization.load_pem_private_key(certificate, None)
    locked = certificate.partition(b"-----BEGIN PRIVATE KEY")[0] + private(key, b"secret")
    with pytest.raises(UnusableCertificate, match="encrypted"):
        _ = Security(certificate=locked).server_context
    with pytest.raises(UnusableCertificate, match="list of authorities"):
        _ = Security(authorities=b"nonsense").client_context
    with pytest.raises(UnusableCertificate, match="none of"):
        Security(certificate=certificate).fingerprint("md5")


def test_fingerprints_are_read_and_written():
    text = "sha-1 " + ":".join(["4A"] * 20)
    assert str(Fingerprint.parse(text)) == text
    assert Fingerprint.parse(text.lower()) == Fingerprint.parse(text)
    for wrong in ("sha-1 4A:AD", "md5 " + ":".join(["4A"] * 16), "4A", "sha-999 4A:4A"):
        with pytest.raises(ValueError, match="fingerprint"):
            Fingerprint.parse(wrong)


# Strangers


async def test_connecting_to_nobody_says_why():
    listener = await Listener.open("127.0.0.1")
    await listener.close()
    with pytest.raises(MSRPConnectError, match="refused"):
        await open_connection("127.0.0.1", listener.port)


async def test_connecting_takes_no_longer_than_it_may(certificate):
    silent = socket.create_server(("127.0.0.1", 0))
    port = silent.getsockname()[1]
    with pytest.raises(MSRPTimeoutError):
        await open_connection("127.0.0.1", port, security=Security(verify=False), timeout=0.2)
    connector = ActiveConnector("127.0.0.1", bind_timeout=0.2)
    with pytest.raises(MSRPTimeoutError) as raised:
        await connector.complete([MSRPURI("127.0.0.1", port, "x")], Log())
    assert raised.value.phase == "the answer to the first SEND"
    silent.close()


async def test_waiting_for_the_remote_takes_no_longer_than_it_may():
    connector = PassiveConnector("127.0.0.1", bind_timeout=0.1)
    await connector.prepare()
    with pytest.raises(MSRPTimeoutError):
        await connector.complete([MSRPURI("127.0.0.1", 2855, "x")], Log())


async def test_an_unknown_session_is_refused():
    listener, session, _ = await listener_and_session()
    connector = ActiveConnector("127.0.0.1")
    await connector.prepare()
    with pytest.raises(BindRefused) as raised:
        await connector.complete([MSRPURI("127.0.0.1", listener.port, "another")], Log())
    assert raised.value.code == 481
    # The right URI from the wrong party is no better.
    with pytest.raises(BindRefused):
        await connector.complete([session.local_uri], Log())
    assert session.connection is None
    await listener.close()


async def test_a_session_belongs_to_its_first_connection():
    listener, session, _ = await listener_and_session()
    async with Stranger(listener.port) as (_, first), Stranger(listener.port) as (reader, second):
        first.write(first_send(session))
        await session.bound()
        second.write(first_send(session))
        assert (await reader.readuntil(b"$\r\n")).startswith(b"MSRP first1 506 Session Already In Use\r\n")
    await session.close()
    await listener.close()


async def test_silent_strangers_are_dropped():
    listener, session, _ = await listener_and_session(first_chunk_timeout=0.1)
    async with Stranger(listener.port) as (one, _), Stranger(listener.port) as (other, _):
        assert await one.read() == await other.read() == b""
    assert listener.statistics.silent_connections == 2
    assert session.connection is None
    await listener.close()


async def test_few_strangers_at_a_time_are_let_in():
    listener, _, _ = await listener_and_session()
    async with contextlib.AsyncExitStack() as stack:
        readers = [(await stack.enter_async_context(Stranger(listener.port)))[0] for _ in range(MAX_HALF_OPEN + 5)]
        for reader in readers[-5:]:
            assert await reader.read() == b""
        assert listener.statistics.refused_connections == 5
        await listener.close()


async def test_a_connection_without_a_path_or_for_nobody_is_counted():
    listener, session, _ = await listener_and_session()
    async with Stranger(listener.port) as (_, writer):
        headers = {"To-Path": "msrp://127.0.0.1:1/nobody;tcp", "From-Path": str(session.remote_path[0])}
        writer.write(b"MSRP lost1 REPORT\r\n-------lost1$\r\n")
        writer.write(MSRPData("lost2", method="REPORT", headers=headers).encode())
        writer.write(first_send(session))
        await session.bound()
    assert listener.statistics.unroutable == 2
    await session.close()
    await listener.close()


async def test_a_bad_request_on_the_only_session_is_answered():
    listener, session, _ = await listener_and_session()
    async with Stranger(listener.port) as (reader, writer):
        writer.write(first_send(session))
        await reader.readuntil(b"$\r\n")
        writer.write(b"MSRP bad01 SEND\r\nMessage-ID: 1\r\n-------bad01$\r\n")
        assert (await reader.readuntil(b"$\r\n")).startswith(b"MSRP bad01 400 Bad Request\r\n")
    await session.close()
    await listener.close()


async def test_a_listener_outlives_a_shortage_of_files(monkeypatch):
    monkeypatch.setattr("sipsimple.msrp.listener._RESOURCE_PAUSE", 0.01)
    loop = asyncio.get_running_loop()
    accept, troubles = loop.sock_accept, [OSError(errno.EMFILE, "Too many open files"), ConnectionAbortedError()]

    async def troubled(listening):
        if troubles:
            raise troubles.pop(0)
        return await accept(listening)

    monkeypatch.setattr(loop, "sock_accept", troubled)
    lines = []
    listener, session, _ = await listener_and_session(hooks=Hooks(log=lambda *line: lines.append(line)))
    async with Stranger(listener.port) as (_, writer):
        writer.write(first_send(session))
        await session.bound()
    assert lines == [("cannot accept connections: Too many open files", logging.ERROR)]
    await session.close()
    await listener.close()


async def test_a_handshake_that_fails_is_counted(certificate):
    lines: asyncio.Queue[str] = asyncio.Queue()
    hooks = Hooks(log=lambda message, _: lines.put_nowait(message))
    listener, _, _ = await listener_and_session(security=Security(certificate=certificate), hooks=hooks)
    async with Stranger(listener.port) as (_, writer):
        writer.write(b"MSRP plain SEND\r\n")
        async with asyncio.timeout(TIME_LIMIT):
            assert "failed before it began" in await lines.get()
    assert listener.statistics.silent_connections == 1
    await listener.close()


async def test_an_address_that_is_taken_cannot_be_listened_on():
    listener = await Listener.open("127.0.0.1")
    with pytest.raises(MSRPConnectError, match="cannot listen"):
        await Listener.open("127.0.0.1", listener.port)
    await listener.close()


async def test_a_pool_makes_a_new_connection_when_the_old_is_gone():
    listener = await Listener.open("127.0.0.1")
    pool = ConnectionPool()
    first, same = await asyncio.gather(*(pool.get("127.0.0.1", listener.port) for _ in range(2)))
    assert first is same
    await first.close()
    second = await pool.get("127.0.0.1", listener.port)
    assert second is not first
    assert second.is_open
    await pool.close()
    assert second.closed.done()
    with pytest.raises(SessionClosed):
        await second.request(MSRPData("auth1", method="AUTH"), 1.0)
    await listener.close()


async def test_what_is_no_msrp_ends_the_connection():
    listener, session, log = await listener_and_session()
    async with Stranger(listener.port) as (_, writer):
        writer.write(first_send(session) + b"GET / HTTP/1.1\r\n\r\n")
        (event,) = await log.wait(Disconnected)
    assert isinstance(event.error, MalformedChunk)
    assert listener.statistics.malformed == 1
    await listener.close()


async def test_a_connection_cut_inside_a_chunk_is_no_clean_end():
    listener, session, log = await listener_and_session()
    async with Stranger(listener.port) as (_, writer):
        writer.write(first_send(session) + b"MSRP second SEND\r\n")
        writer.write_eof()
        (event,) = await log.wait(Disconnected)
    assert "in the middle of a chunk" in str(event.error)
    await listener.close()


async def test_who_never_reads_our_answers_is_not_read_any_more(pair):
    connection = pair.bob.connection
    connection.pause_writing()  # as asyncio does when the socket takes no more
    for _ in range(5000):
        pair.alice.send(b"x" * 100, TEXT)
    received = -1
    while received != len(pair.bob_log.of(DataReceived)):
        received = len(pair.bob_log.of(DataReceived))
        await asyncio.sleep(0.1)
    assert connection.sender.waiting_chunks == received < 5000
    connection.resume_writing()
    await pair.bob_log.wait(DataReceived, 5000)
    await pair.alice_log.wait(MessageAccepted, 5000)


# Hooks


async def test_the_trace_shows_each_chunk_once_and_no_binary():
    traced = []
    logged = []
    hooks = Hooks(lambda _, direction, text: traced.append((direction, text)), lambda *line: logged.append(line))
    pair = await Pair.open(hooks=hooks)
    traced.clear()
    pair.alice.send("grüße".encode(), TEXT)
    await pair.bob_log.wait(DataReceived)
    pair.alice.send(bytes(100_000), "image/png", success_report=True)
    await pair.alice_log.wait(MessageDelivered)
    await pair.close()
    outgoing = [text for direction, text in traced if direction == "outgoing"]
    assert len([text for text in outgoing if " SEND\r\n" in text]) == 2
    assert "\r\n\r\ngrüße\r\n-------" in outgoing[0]
    assert any("(100000 bytes of image/png)" in text for text in outgoing)
    incoming = [text.split("\r\n")[0].split(" ", 2)[2] for direction, text in traced if direction == "incoming"]
    assert incoming[0] == "200 OK"
    assert "REPORT" in incoming


async def test_a_chunk_is_traced_whole_or_not_at_all():
    traced: list[str] = []
    watched = False
    go_on = threading.Event()

    class Slow:
        blocks = [b"a" * 100_000, b"b" * 100_000]

        def read(self, size):
            if len(self.blocks) == 1:
                go_on.wait(TIME_LIMIT)
            return self.blocks.pop(0) if self.blocks else b""

    pair = await Pair.open(hooks=Hooks(lambda _, way, text: traced.append(way + text), is_traced=lambda _: watched))
    pair.alice.send(b"unseen", TEXT, failure_report="no")
    await pair.bob_log.wait(DataReceived)
    watched = True
    pair.alice.send(b"seen", TEXT, failure_report="no")
    await pair.bob_log.wait(DataReceived, 2)
    (text,) = traced
    assert text.startswith("outgoingMSRP ")
    assert "\r\n\r\nseen\r\n-------" in text
    # Nobody watches when the next chunk begins, but somebody does before it ends.
    watched = False
    message = pair.alice.send(Slow(), TEXT, size=200_000, failure_report="no")
    await pair.bob_log.wait(DataReceived, 3)
    watched = True
    go_on.set()
    await pair.alice_log.wait(MessageSent, 3)
    assert message.sent == 200_000
    assert traced == [text]
    await pair.close()


async def test_the_log_tells_of_connections_given_up():
    lines = []
    listener, session, log = await listener_and_session(hooks=Hooks(log=lambda *line: lines.append(line)))
    async with Stranger(listener.port) as (_, writer):
        writer.write(first_send(session) + b"\xff\xff\xff\xff\xff\xff")
        await log.wait(Disconnected)
    assert [level for _, level in lines] == [logging.WARNING]
    assert "127.0.0.1" in lines[0][0]
    await listener.close()


async def test_a_listener_that_closes_as_its_session_is_found_leaves_the_session_alone():
    listener, session, log = await listener_and_session()
    closing: list[asyncio.Task[None]] = []
    find = listener._find

    def find_and_close(uri, chunk):
        # The task that meets the stranger is cancelled in the very turn of the loop in which it would go on.
        closing.append(asyncio.ensure_future(listener.close()))
        return find(uri, chunk)

    listener._find = find_and_close
    async with Stranger(listener.port) as (reader, writer):
        writer.write(first_send(session))
        assert b" 200 OK" in await asyncio.wait_for(reader.readline(), TIME_LIMIT)
        await asyncio.gather(*closing)
        writer.write(first_send(session, **{"Message-ID": "m2"}).replace(b"first1", b"second2"))
        while b"second2 200 OK" not in await asyncio.wait_for(reader.readline(), TIME_LIMIT):
            pass
    assert not log.of(Disconnected) or log.of(Disconnected)[0].error is None
