"""TLS between endpoints: who is believed to be whom, who shares a connection, and what strangers cannot do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sipsimple.sip.transport import (
    ConnectError,
    ConnectionLost,
    Destination,
    Identity,
    Peer,
    TLSVerificationError,
    security,
)
from sipsimple.sip.transport.peer import certified_names, is_certified
from tests.support.certificates import Authority
from tests.unit.sip.endpoint_kit import TIME_LIMIT, make_request, until, wire_request
from tests.unit.sip.endpoint_kit import Peer as Agent


class Certificates:
    """Security for tests: one certificate for those who connect, one authority, certificates of identities."""

    def __init__(self, certificate: str | None, authority: Authority | None, timeout: float = 5.0) -> None:
        self.handshake_timeout = timeout
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if certificate is not None:
            self.server.load_cert_chain(certificate)
        self.authority = authority
        self.asked: list[Identity | None] = []

    def want_certificates(self, authority: Authority) -> None:
        """Let nobody in who has none."""
        self.server.load_verify_locations(authority.file)
        self.server.verify_mode = ssl.CERT_REQUIRED

    async def server_context(self) -> ssl.SSLContext:
        return self.server

    async def client_context(self, identity: Identity | None) -> ssl.SSLContext:
        self.asked.append(identity)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        if self.authority is not None:
            context.load_verify_locations(self.authority.file)
        if identity is not None:
            if identity.certificate is not None:
                context.load_cert_chain(identity.certificate)
            if not identity.verify_server:
                context.verify_mode = ssl.CERT_NONE
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@contextlib.asynccontextmanager
async def endpoints(
    authority: Authority, certificate: str, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[Agent, Agent, Destination]]:
    """A client that trusts the authority, a server with this certificate, and where the server is."""
    client, server = Agent(), Agent()
    client.security = Certificates(None, authority)
    server.security = Certificates(certificate, None)
    try:
        await client.endpoint.listen("tls", host, 0, client.security)
        port = await server.endpoint.listen("tls", host, 0, server.security)
        yield client, server, Destination("tls", host, port)
    finally:
        await client.endpoint.close()
        await server.endpoint.close()


def towards(destination: Destination, *names: str, identity: Identity | None = None) -> Destination:
    return destination._replace(peer=Peer(names, identity))


async def failure(client: Agent, destination: Destination) -> Any:
    """The error that a request to this destination meets."""
    client.endpoint.send_request(make_request(), destination, client)
    return (await client.next("transport error"))[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_the_domain_that_was_asked_for_is_what_the_certificate_has_to_be_for(authority, host):
    async with endpoints(authority, authority.issue("example.org"), host) as (client, server, destination):
        client.endpoint.send_request(make_request(), towards(destination, "Example.ORG"), client)
        await client.responses(200)
        assert "TLS" in (await server.next("request"))[1].headers.get("Via")
        error = await failure(client, towards(destination, "example.com"))
        assert isinstance(error, TLSVerificationError)
        assert error.check == "host name"
        assert "certificate for example.com was not accepted: it is for example.org" in str(error)


async def test_without_a_name_the_certificate_has_to_be_for_the_address(authority):
    certificate = authority.issue("127.0.0.1")
    async with endpoints(authority, certificate) as (client, _, destination):
        client.endpoint.send_request(make_request(), destination, client)
        await client.responses(200)
    async with endpoints(authority, authority.issue("example.org")) as (client, _, destination):
        assert (await failure(client, destination)).check == "host name"


async def test_each_reason_to_refuse_a_certificate_is_told(authority, tmp_path):
    another = Authority(tmp_path, "Another")
    cases = {
        "expired": authority.issue("example.org", starts=-10, ends=-1),
        "not yet valid": authority.issue("example.org", starts=1),
        "self-signed": authority.issue("example.org", self_signed=True),
        "unknown authority": another.issue("example.org"),
    }
    for check, certificate in cases.items():
        async with endpoints(authority, certificate) as (client, server, destination):
            error = await failure(client, towards(destination, "example.org"))
            assert isinstance(error, TLSVerificationError), check
            assert (error.check, error.errno, error.host) == (check, 0, "127.0.0.1")
            assert server.kinds() == []
            assert not client.endpoint.has_connection(towards(destination, "example.org"))


async def test_who_does_not_verify_talks_to_anybody(authority):
    async with endpoints(authority, authority.issue(self_signed=True)) as (client, _, destination):
        trusting = towards(destination, "example.org", identity=Identity(verify_server=False))
        client.endpoint.send_request(make_request(), trusting, client)
        await client.responses(200)
        # What was not verified is of no use to who verifies.
        assert (await failure(client, towards(destination, "example.org"))).check == "self-signed"


async def test_a_stranger_is_sent_nothing_and_not_heard(authority):
    """The name is checked before the first byte goes out, and what the stranger says meanwhile is dropped."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # In TLS 1.3 the stranger would not even see the end of the handshake.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(authority.issue("example.com"))
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(wire_request() * 3)
        try:
            heard.set_result(await reader.read())
        except OSError:
            heard.set_result(b"")
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    client = Agent()
    await client.endpoint.listen("tls", "127.0.0.1", 0, Certificates(None, authority))
    async with await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context) as listening:
        destination = Destination("tls", "127.0.0.1", listening.sockets[0].getsockname()[1])
        assert (await failure(client, towards(destination, "example.org"))).check == "host name"
        async with asyncio.timeout(TIME_LIMIT):
            assert await heard == b""
        assert "request" not in client.kinds()
        await client.endpoint.close()


async def test_accounts_have_connections_of_their_own(authority, tmp_path):
    users = Authority(tmp_path, "Users")
    alice, bob = Identity(users.issue("alice")), Identity(users.issue("bob"))
    async with endpoints(authority, authority.issue("example.org")) as (client, server, destination):
        server.security.want_certificates(users)
        for identity in (alice, bob, alice, bob):
            client.endpoint.send_request(make_request(), towards(destination, "example.org", identity=identity), client)
            await client.responses(200)
        assert client.security.asked == [alice, bob]
        sources = [(await server.next("request"))[1].via.rport for _ in range(4)]
        assert sources[0] == sources[2] != sources[1] == sources[3]


def refuse_without_certificate(listening: socket.socket, context: ssl.SSLContext) -> None:
    with context.wrap_socket(listening.accept()[0], server_side=True, do_handshake_on_connect=False) as accepted:
        with contextlib.suppress(ssl.SSLError):
            accepted.do_handshake()
        # What it sent meanwhile is read, lest the end of the connection overtake the alert.
        accepted.settimeout(0.1)
        with contextlib.suppress(OSError):
            while socket.socket.recv(accepted, 4096):
                pass


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_a_remote_that_wants_a_certificate_of_ours_is_quoted(authority, version):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue("127.0.0.1"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = ssl.TLSVersion[version]
    client = Agent()
    await client.endpoint.listen("tls", "127.0.0.1", 0, Certificates(None, authority))
    # A thread, because the event loop closes such connections without a word.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        refusing = asyncio.create_task(asyncio.to_thread(refuse_without_certificate, listening, context))
        error = await failure(client, Destination("tls", *listening.getsockname()))
        await refusing
    # With TLS 1.3 our side is connected before the other has looked for the certificate.
    assert isinstance(error, ConnectError if version == "TLSv1_2" else ConnectionLost)
    assert "certificate of ours" in str(error)
    assert error.errno == 0
    await client.endpoint.close()


async def test_who_does_not_speak_tls_is_recognised(authority):
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SIP/2.0 400 Bad Request\r\n\r\n")
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    client = Agent()
    await client.endpoint.listen("tls", "127.0.0.1", 0, Certificates(None, authority))
    async with await asyncio.start_server(greet, "127.0.0.1", 0) as listening:
        destination = Destination("tls", "127.0.0.1", listening.sockets[0].getsockname()[1])
        assert "the remote does not speak TLS on this port" in str(await failure(client, destination))
    await client.endpoint.close()


async def test_tls_1_1_is_too_old(authority):
    async with endpoints(authority, authority.issue("example.org")) as (_, server, destination):
        server.security.server.minimum_version = ssl.TLSVersion.TLSv1_2
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(OSError):
            await asyncio.open_connection(*destination.address, ssl=old)
        await until(lambda: server.endpoint.statistics.handshakes_failed == 1)


async def test_a_name_that_cannot_be_one_is_an_error_like_any_other(authority):
    async with endpoints(authority, authority.issue("example.org")) as (client, _, destination):
        error = await failure(client, towards(destination, ".example.org"))
        assert isinstance(error, ConnectError)


async def test_who_never_shakes_hands_is_left_alone_after_a_while(authority):
    client = Agent()
    await client.endpoint.listen("tls", "127.0.0.1", 0, Certificates(None, authority, timeout=0.1))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = await failure(client, Destination("tls", *silent.getsockname()))
        assert isinstance(error, ConnectError)
        assert "handshake" in str(error)
    await client.endpoint.close()


async def test_strangers_shake_hands_for_a_bounded_time_and_in_a_bounded_number(authority, monkeypatch):
    monkeypatch.setattr(security, "MAX_HANDSHAKES", 3)
    server = Agent()
    certificates = Certificates(authority.issue("127.0.0.1"), authority, timeout=0.5)
    port = await server.endpoint.listen("tls", "127.0.0.1", 0, certificates)
    counters = server.endpoint.statistics
    streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
    await until(lambda: counters.connections_refused == 2)
    await until(lambda: counters.handshakes_failed == 3)
    for _, writer in streams:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    # Those who behave are served again.
    client = Agent()
    await client.endpoint.listen("tls", "127.0.0.1", 0, certificates)
    client.endpoint.send_request(make_request(), Destination("tls", "127.0.0.1", port), client)
    await client.responses(200)
    await client.endpoint.close()
    await server.endpoint.close()


async def test_a_server_that_runs_out_of_descriptors_goes_on_later(authority, monkeypatch):
    monkeypatch.setattr(security, "ACCEPT_PAUSE", 0.01)
    loop = asyncio.get_running_loop()
    accept, refusals = loop.sock_accept, [OSError(24, "Too many open files")] * 2

    async def sock_accept(listening: socket.socket) -> Any:
        if refusals:
            raise refusals.pop()
        return await accept(listening)

    monkeypatch.setattr(loop, "sock_accept", sock_accept)
    async with endpoints(authority, authority.issue("127.0.0.1")) as (client, _, destination):
        client.endpoint.send_request(make_request(), destination, client)
        await client.responses(200)
    assert refusals == []


async def test_a_server_without_a_certificate_turns_everybody_away(authority):
    class Nothing(Certificates):
        async def server_context(self) -> ssl.SSLContext:
            raise OSError("the disk is full")

    server = Agent()
    port = await server.endpoint.listen("tls", "127.0.0.1", 0, Nothing(None, authority))
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    await until(lambda: server.endpoint.statistics.handshakes_failed == 1)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    await server.endpoint.close()


async def test_closing_does_not_wait_for_handshakes(authority):
    server = Agent()
    port = await server.endpoint.listen("tls", "127.0.0.1", 0, Certificates(authority.issue("x"), None))
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.sleep(0.01)  # so that it is accepted
    async with asyncio.timeout(1):
        await server.endpoint.close()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def test_keep_alives_are_answered_over_tls(authority):
    async with endpoints(authority, authority.issue("example.org")) as (client, server, destination):
        destination = towards(destination, "example.org")
        client.endpoint.send_request(make_request(), destination, client)
        await client.responses(200)
        client.endpoint.keep_alive(destination)
        await until(lambda: server.endpoint.statistics.keep_alives == 1)
        await server.endpoint.close_transport("tls")
        lost, error = await client.next("lost")
        assert lost == destination
        assert error.orderly


@pytest.mark.parametrize(
    ("wanted", "certified", "good"),
    [
        ("example.org", ["example.org"], True),
        ("EXAMPLE.org.", ["example.ORG"], True),
        ("sip.example.org", ["*.example.org"], True),
        ("example.org", ["*.example.org"], False),
        ("a.b.example.org", ["*.example.org"], False),
        ("example.org", ["*.org"], False),
        ("example.org", ["*"], False),
        ("127.0.0.1", ["127.0.0.1"], True),
        ("::1", ["0:0:0:0:0:0:0:1"], True),
        ("127.0.0.1", ["*.0.0.1"], False),
        ("127.0.0.1", ["127.0.0.2"], False),
        ("example.org", ["127.0.0.1"], False),
    ],
)
def test_names_are_compared_as_certificates_have_them(wanted, certified, good):
    assert is_certified(wanted, certified) is good


def test_the_names_of_a_certificate_are_its_sip_uris_dns_names_and_addresses(authority):
    path = authority.issue("sip:example.org", "sip:alice@example.net", "www.example.org", "::1", common_name="other")
    assert certified_names(decoded(path)) == ["example.org", "www.example.org", "0:0:0:0:0:0:0:1"]
    # The common name is for certificates that have nothing else.
    assert certified_names(decoded(authority.issue(common_name="example.com"))) == ["example.com"]
    assert certified_names({}) == []


def decoded(path: str) -> dict[str, Any]:
    return ssl._ssl._test_decode_cert(Path(path))  # type: ignore[attr-defined]
