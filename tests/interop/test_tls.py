"""TLS with others: registration, flows and calls through Kamailio, and what OpenSSL says of our listener."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sipsimple.core import Engine
from sipsimple.loop import unbind_loop
from tests.interop.kamailio import Kamailio
from tests.interop.test_with_kamailio import registered_baresip
from tests.interop.user_agent import UserAgent, user_agent
from tests.support.certificates import Authority
from tests.support.programs import Program, need

DOMAIN = "example.org"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
async def proxy(tmp_path: Path, authority: Authority) -> AsyncIterator[Kamailio]:
    """A proxy with a certificate for its address."""
    async with Kamailio(tmp_path / "kamailio", certificate=authority.issue("127.0.0.1")) as running:
        yield running


@asynccontextmanager
async def customer(proxy: Kamailio, authority: Authority) -> AsyncIterator[UserAgent]:
    """A user agent whose account registers over TLS."""
    account = {
        "password": proxy.password,
        "registration": {"enabled": "true"},
        "sip": {"outbound_proxy": f"127.0.0.1:{proxy.tls_port};transport=tls"},
    }
    general = {
        "sip": {"transport_list": ["tls", "udp"]},
        "tls": {"ca_list": str(authority.file), "timeout": "5000"},
    }
    async with user_agent("alice", DOMAIN, account, general) as agent:
        yield agent


async def registered(agent: UserAgent) -> Any:
    return await agent.record.until(agent.account, "SIPAccountRegistrationDidSucceed")


def connections() -> int:
    """How many TLS connections the engine has, whoever made them."""
    return len(Engine().endpoint.transports._pools["tls"])


async def test_an_account_registers_over_tls_with_a_flow(
    nothing_left: None, proxy: Kamailio, authority: Authority
) -> None:
    async with customer(proxy, authority) as alice:
        told = await registered(alice)
        assert told.registrar.transport == "tls"
        assert told.contact_header.parameters["reg-id"] == "1"
        flow = alice.account._registrar._registration._flow
        # Kamailio has agreed to outbound: it says how often it wants to hear of us, and answers that.
        assert flow.agreed
        assert flow._interval == (0.8 * 20, 20)
        Engine().endpoint.keep_alive(flow.destination)
    await proxy.program.line("saved alice by tls expires=0")


async def test_a_call_stays_on_the_connection_of_the_registration(
    nothing_left: None, tmp_path: Path, proxy: Kamailio, authority: Authority
) -> None:
    """Kamailio marks its Record-Route with our flow, so the BYE of the other side comes by it too."""
    async with (
        registered_baresip(tmp_path / "bob", proxy, "udp") as bob,
        customer(proxy, authority) as alice,
    ):
        await registered(alice)
        session = await alice.call(f"sip:bob@{DOMAIN}")
        assert session.transport == "tls"
        await bob.hang_up()
        await alice.record.until(session, "SIPSessionDidEnd")
        assert connections() == 1
        assert {message.transport for message in alice.trace.messages} == {"tls"}
        (invite,) = alice.trace.sent("INVITE")[1:]
        assert ";ob>" in invite.headers("Contact")[0]
    assert (proxy.loose_routed("ACK"), proxy.loose_routed("BYE")) == (1, 1)


async def test_a_call_arrives_by_the_connection_of_the_registration(
    nothing_left: None, tmp_path: Path, proxy: Kamailio, authority: Authority
) -> None:
    async with (
        registered_baresip(tmp_path / "bob", proxy, "udp") as bob,
        customer(proxy, authority) as alice,
    ):
        await registered(alice)
        answering = asyncio.create_task(alice.answer())
        await bob.dial(f"sip:alice@{DOMAIN}")
        session = await answering
        assert session.transport == "tls"
        (invite,) = [message for message in alice.trace.messages if message.method == "INVITE"]
        assert invite.peer == ("127.0.0.1", proxy.tls_port)
        await session.end()
        await bob.event("CALL_CLOSED")


async def test_a_proxy_that_comes_back_is_registered_with_again(
    nothing_left: None, tmp_path: Path, proxy: Kamailio, authority: Authority
) -> None:
    async with customer(proxy, authority) as alice:
        await registered(alice)
        await proxy.program.stop()
        await alice.record.until(alice.account, "SIPAccountRegistrationDidFail")
        assert not alice.account.registered
        again = Kamailio(tmp_path / "again", port=proxy.port, certificate=authority.issue("127.0.0.1"))
        async with again:
            await alice.record.until(alice.account, "SIPAccountRegistrationDidSucceed", count=2)
            await alice.account.delete()


async def test_a_proxy_with_another_name_is_not_registered_with(
    nothing_left: None, tmp_path: Path, authority: Authority
) -> None:
    async with (
        Kamailio(tmp_path / "kamailio", certificate=authority.issue("example.net")) as proxy,
        customer(proxy, authority) as alice,
    ):
        answer = await alice.record.until(alice.account, "SIPAccountRegistrationGotAnswer")
        assert "it is for example.net" in answer.reason
        assert proxy.requests("REGISTER") == []


@pytest.mark.parametrize(("version", "good"), [("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)])
async def test_openssl_connects_with_tls_1_2_and_newer_only(
    nothing_left: None, authority: Authority, version: str, good: bool
) -> None:
    openssl = need("openssl", "openssl")
    engine = Engine()
    certificate = authority.issue("example.org")
    await engine.start(local_ip="127.0.0.1", udp_port=None, tls_port=0, tls_cert_file=certificate, tls_timeout=5000)
    try:
        connect = (openssl, "s_client", "-brief", "-connect", f"127.0.0.1:{engine.tls_port}", version)
        verify = ("-CAfile", authority.file, "-verify_hostname", "example.org", "-verify_return_error")
        async with Program(*connect, *verify) as client:
            assert (await client.ended(10) == 0) is good, client.output
        if good:
            assert "Verification: OK" in client.lines
            assert "Verified peername: example.org" in client.lines
    finally:
        await engine.stop()
        unbind_loop(asyncio.get_running_loop())
