"""The engine's TLS: what its options open and refuse, whole calls over it, and which domain has to be at the end."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sipsimple.core import (
    SIPURI,
    ContactHeader,
    Engine,
    FromHeader,
    Invitation,
    PJSIPError,
    PJSIPTLSError,
    Request,
    RouteHeader,
    SDPConnection,
    SDPMediaStream,
    SDPSession,
    SIPCoreError,
    ToHeader,
)
from sipsimple.loop import unbind_loop
from sipsimple.notification import NotificationCenter
from sipsimple.sip.transport import TLSVerificationError
from tests.conftest import tasks_left
from tests.support.certificates import Authority, pem, private

LIMIT = 5.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[Engine]:
    engine = Engine()
    try:
        await engine.start(**{"local_ip": "127.0.0.1", "udp_port": None, "tls_port": 0, "tls_timeout": 5000, **options})
        yield engine
    finally:
        await engine.stop()
        assert tasks_left() == []
        unbind_loop(asyncio.get_running_loop())


def offer(host: str = "127.0.0.1") -> SDPSession:
    media = SDPMediaStream("audio", 40000, "RTP/AVP", formats=["0"])
    family = "IP6" if ":" in host else "IP4"
    connection = SDPConnection(host, address_type=family)
    return SDPSession(host, address_type=family, connection=connection, media=[media])


def route(engine: Engine, host: str = "127.0.0.1", transport: str = "tls", **parameters: str) -> RouteHeader:
    port = getattr(engine, f"{transport}_port")
    more = {} if transport == "udp" else {"transport": transport}
    return RouteHeader(SIPURI(host, port=port, parameters={**more, **parameters}))


def contact(engine: Engine, host: str, transport: str) -> ContactHeader:
    uri = route(engine, host, transport).uri
    return ContactHeader(SIPURI(host, "alice", port=uri.port, parameters=uri.parameters))


async def asked(engine: Engine, sender: SIPURI, target: SIPURI, way: RouteHeader) -> int:
    """The code of the answer to OPTIONS; raises what the request raises."""
    response = await Request("OPTIONS", FromHeader(sender), ToHeader(target), target, way).send(timeout=LIMIT)
    return response.code


ALICE = SIPURI("example.org", "alice")
BOB = SIPURI("example.com", "bob")


async def changed(invitation: Invitation, state: str) -> Any:
    if invitation.state != state:
        await NotificationCenter().wait("SIPInvitationChangedState", invitation, LIMIT, lambda n: n.data.state == state)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_a_whole_call_over_each_transport_of_both_families(nothing_left, record, host, transport):
    async with running(local_ip=host, udp_port=0, tcp_port=0, trace_sip=True) as engine:
        assert engine.ip_address == host
        caller = Invitation()
        waiting = asyncio.create_task(
            NotificationCenter().wait(
                "SIPInvitationChangedState", timeout=LIMIT, match=lambda n: n.data.state == "incoming"
            )
        )
        await asyncio.sleep(0)
        way, here = route(engine, host, transport), contact(engine, host, transport)
        caller.send_invite(FromHeader(ALICE), ToHeader(SIPURI(host, "bob")), way, here, offer(host))
        callee: Any = (await waiting).sender
        callee.send_response(180)
        await changed(caller, "early")
        callee.send_response(200, sdp=offer(host))
        await asyncio.gather(changed(caller, "connected"), changed(callee, "connected"))
        assert caller.transport == callee.transport == transport
        assert callee.sdp.active_remote.connection.address == host
        callee.end(timeout=LIMIT)
        await asyncio.gather(changed(caller, "disconnected"), changed(callee, "disconnected"))
        messages = [n.data for n in record.of(engine) if n.name == "SIPEngineSIPTrace"]
        assert {data.transport for data in messages} == {transport.upper()}
        written = f"[{host}]" if ":" in host else host
        invite = next(data.data for data in messages if data.data.startswith("INVITE"))
        assert f"Via: SIP/2.0/{transport.upper()} {written}:" in invite
        assert f"Contact: <sip:alice@{written}:" in invite


async def test_two_ends_of_a_tls_call_use_one_connection(record):
    """The called party's BYE goes back on the connection of the caller, who has no certificate to show."""
    async with running() as engine:
        caller = Invitation()
        waiting = asyncio.create_task(
            NotificationCenter().wait(
                "SIPInvitationChangedState", timeout=LIMIT, match=lambda n: n.data.state == "incoming"
            )
        )
        await asyncio.sleep(0)
        # Whoever called would have to prove who she is, were she connected to.
        engine.set_tls_identity(BOB, verify_server=True)
        caller.send_invite(
            FromHeader(ALICE), ToHeader(BOB), route(engine), contact(engine, "127.0.0.1", "tls"), offer()
        )
        callee: Any = (await waiting).sender
        callee.send_response(200, sdp=offer())
        await asyncio.gather(changed(caller, "connected"), changed(callee, "connected"))
        callee.end(timeout=LIMIT)
        await asyncio.gather(changed(caller, "disconnected"), changed(callee, "disconnected"))
        assert record.of(callee)[-1].data.code == 200


async def test_without_a_certificate_the_listener_signs_one_for_itself(nothing_left):
    async with running() as engine:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        _, writer = await asyncio.open_connection("127.0.0.1", engine.tls_port, ssl=context)
        assert writer.get_extra_info("ssl_object").version() in ("TLSv1.2", "TLSv1.3")
        assert writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        await writer.wait_closed()


async def test_the_domain_of_the_account_is_what_a_bare_route_has_to_be(authority):
    certificate = authority.issue("example.org")
    options = {"tls_cert_file": certificate, "tls_ca_file": str(authority.file), "tls_verify_server": True}
    async with running(**options) as engine:
        assert await asked(engine, ALICE, ALICE, route(engine)) == 200
        with pytest.raises(SIPCoreError) as caught:
            await asked(engine, SIPURI("example.net", "carol"), BOB, route(engine))
        assert isinstance(caught.value.__cause__, TLSVerificationError)
        assert caught.value.__cause__.check == "host name"
        assert "the certificate for example.net or example.com or 127.0.0.1 was not accepted" in str(caught.value)


async def test_the_domain_of_a_route_counts_alone_and_is_not_written(authority, record):
    certificate = authority.issue("proxy.example.net")
    options = {"tls_cert_file": certificate, "tls_ca_file": str(authority.file), "tls_verify_server": True}
    async with running(**options, trace_sip=True) as engine:
        looked_up = route(engine, "proxy.example.net", maddr="127.0.0.1")
        assert await asked(engine, ALICE, BOB, looked_up) == 200
        sent = next(n.data.data for n in record.of(engine) if n.name == "SIPEngineSIPTrace")
        assert f"Route: <sip:127.0.0.1:{engine.tls_port};transport=tls;lr>" in sent
        with pytest.raises(SIPCoreError, match=r"for example\.org was not accepted: it is for proxy\.example\.net"):
            await asked(engine, ALICE, BOB, route(engine, "example.org", maddr="127.0.0.1"))


async def test_a_call_that_fails_for_its_certificate_says_so(authority, record):
    expired = authority.issue("example.org", starts=-9, ends=-1)
    options = {"tls_cert_file": expired, "tls_ca_file": str(authority.file), "tls_verify_server": True}
    async with running(**options) as engine:
        caller = Invitation()
        caller.send_invite(
            FromHeader(ALICE), ToHeader(BOB), route(engine), contact(engine, "127.0.0.1", "tls"), offer()
        )
        await changed(caller, "disconnected")
        told = record.of(caller)[-1].data
        assert told.originator == "local"
        assert "was not accepted: it has expired" in told.disconnect_reason


async def test_each_account_has_a_certificate_and_a_mind_of_its_own(authority):
    async with running() as engine:
        bob, carol = SIPURI("example.org", "bob"), SIPURI("example.org", "carol")
        engine.set_tls_identity(ALICE, authority.issue("alice"), verify_server=False)
        engine.set_tls_identity(bob, verify_server=True)
        engine.set_tls_identity(carol, "/nowhere/carol.pem", verify_server=False)
        assert await asked(engine, ALICE, ALICE, route(engine)) == 200
        with pytest.raises(SIPCoreError, match="it is signed by itself"):
            await asked(engine, bob, bob, route(engine))
        with pytest.raises(SIPCoreError, match=r"cannot read the certificate file /nowhere/carol\.pem"):
            await asked(engine, carol, carol, route(engine))
        engine.forget_tls_identity(bob)
        assert await asked(engine, bob, bob, route(engine)) == 200


async def test_certificates_that_cannot_be_used_are_refused_at_the_start(authority, tmp_path, record):
    files = {
        "empty": b"",
        "junk": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "without key": pem(authority.certificate),
        "encrypted": pem(authority.certificate) + private(authority._key, b"secret"),
    }
    for name, content in files.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(PJSIPTLSError, match=f"certificate file .*{name} cannot be used"):
            await Engine().start(tls_port=0, tls_cert_file=str(path), local_ip="127.0.0.1")
    with pytest.raises(PJSIPTLSError, match="encrypted; store it without a password"):
        await Engine().start(tls_port=0, tls_cert_file=str(path), local_ip="127.0.0.1")
    with pytest.raises(PJSIPTLSError, match=r"list of authorities .*junk cannot be used"):
        await Engine().start(tls_port=0, tls_ca_file=str(tmp_path / "junk"), local_ip="127.0.0.1")
    with pytest.raises(PJSIPTLSError, match="No such file") as caught:
        await Engine().start(tls_port=0, tls_cert_file="/nowhere", local_ip="127.0.0.1")
    assert caught.value.errno == 2
    with pytest.raises(PJSIPTLSError, match="mismatch"):
        key = authority.issue("other")
        await Engine().start(
            tls_port=0, tls_cert_file=authority.issue("one"), tls_privkey_file=key, local_ip="127.0.0.1"
        )
    assert {n.name for n in record.of(Engine())} == {"SIPEngineWillStart", "SIPEngineDidFail"}
    assert not Engine().is_running
    # What failed leaves the way free.
    async with running() as engine:
        assert engine.tls_port


async def test_a_certificate_that_was_renewed_in_its_place_is_shown(authority, tmp_path):
    """New connections show the new one; what cannot be read, as it is being written, leaves the old one in force."""
    path = tmp_path / "certificate.pem"
    files = [authority.issue(name) for name in ("example.org", "example.com")]
    first, second = [await asyncio.to_thread(Path(file).read_bytes) for file in files]
    path.write_bytes(first)
    options = {"tls_cert_file": str(path), "tls_ca_file": str(authority.file), "tls_verify_server": True}
    async with running(**options) as engine:

        async def shown_to(host: str) -> bool:
            """Whether an account of this domain finds its server, over a connection of its own."""
            try:
                user = SIPURI(host, "alice")
                return await asked(engine, user, user, route(engine, host, maddr="127.0.0.1")) == 200
            except SIPCoreError:
                return False

        assert await shown_to("example.org")
        replace(path, b"")
        assert not await shown_to("example.com")
        replace(path, second)
        assert await shown_to("example.com")


def replace(path: Path, content: bytes) -> None:
    """Write a file, and see to it that its time differs, however coarse the clock of the disk."""
    before = path.stat().st_mtime_ns
    path.write_bytes(content)
    os.utime(path, ns=(before + 10**9, before + 10**9))


async def test_a_port_in_use_is_no_matter_of_tls():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(PJSIPError, match="another program uses this port") as caught:
            await Engine().start(tls_port=taken.getsockname()[1], local_ip="127.0.0.1")
        assert not isinstance(caught.value, PJSIPTLSError)
    unbind_loop(asyncio.get_running_loop())


async def test_options_can_be_changed_while_it_runs(authority, tmp_path):
    good = authority.issue("example.org")
    async with running(tls_port=None, udp_port=0) as engine:
        assert engine.tls_port is None
        await engine.set_tls_options(port=0, ca_file=str(authority.file), cert_file=good, timeout=5000)
        assert engine.tls_port
        assert (engine.tls_cert_file, engine.tls_verify_server, engine.tls_timeout) == (good, False, 5000)
        assert await asked(engine, ALICE, ALICE, route(engine)) == 200
        await engine.set_tls_options(port=0, verify_server=True, cert_file=good, timeout=5000)
        # The authority is none of those that the system trusts.
        with pytest.raises(SIPCoreError, match=r"signed by an authority that is not in tls\.ca_list"):
            await asked(engine, ALICE, ALICE, route(engine))
        bad = tmp_path / "bad.pem"
        bad.write_bytes(b"")
        with pytest.raises(PJSIPTLSError):
            await engine.set_tls_options(port=0, cert_file=str(bad))
        assert engine.tls_port is None
        await engine.set_tls_options(port=0)
        assert engine.tls_port
        await engine.set_tls_options(port=None)
        assert engine.tls_port is None
        for nonsense in ({"cert_file": "/nowhere"}, {"port": 70000}, {"protocol": "TLSv7"}, {"timeout": -1}):
            with pytest.raises(ValueError):
                engine.set_tls_options(**{"port": 0, **nonsense})
    with pytest.raises(SIPCoreError):
        engine.set_tls_options(port=0)
