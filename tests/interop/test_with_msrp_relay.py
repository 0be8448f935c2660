"""MSRP through Kamailio's relay, with both parties behind it."""

import asyncio
import random
from pathlib import Path

import pytest

from sipsimple.msrp import (
    DataReceived,
    MessageDelivered,
    RelayConnector,
    RelayRefused,
    RelaySettings,
    Security,
    SessionOptions,
)
from tests.interop.msrp_relay import MSRPRelay
from tests.unit.msrp.conftest import Log, make_certificate


@pytest.fixture
async def relay(tmp_path: Path):
    certificate = tmp_path / "relay.pem"
    certificate.write_bytes(make_certificate())
    async with MSRPRelay(tmp_path / "relay", certificate) as running:
        running.security = Security(authorities=certificate.read_bytes())
        yield running


def connector(relay: MSRPRelay, *, is_active: bool, password: str | None = None) -> RelayConnector:
    settings = RelaySettings("127.0.0.1", relay.user, password or relay.password, port=relay.port)
    return RelayConnector("127.0.0.1", settings, is_active=is_active, security=relay.security)


async def test_two_parties_behind_the_relay_exchange_messages_and_a_file(relay):
    alice, bob = connector(relay, is_active=True), connector(relay, is_active=False)
    alice_path, bob_path = await alice.prepare(), await bob.prepare()
    assert [uri.port for uri in alice_path] == [relay.port, 2855]
    alice_log, bob_log, options = Log(), Log(), SessionOptions(assemble=True)
    waiting = asyncio.ensure_future(bob.complete(alice_path, bob_log, options=options))
    alice_session = await alice.complete(bob_path, alice_log, options=options)
    bob_session = await waiting
    texts = [b"message %d" % number for number in range(100)]
    for text in texts:
        alice_session.send(text, "text/plain", success_report=True, failure_report="partial")
        bob_session.send(text, "text/plain", success_report=True)
    for log in (alice_log, bob_log):
        assert [event.chunk.data for event in await log.wait(DataReceived, 100)] == texts
        assert all(event.is_complete for event in await log.wait(MessageDelivered, 100))
    content = random.Random(1).randbytes(1_000_000)
    message = alice_session.send(content, "application/octet-stream", success_report=True, failure_report="partial")
    assert (await bob_log.wait(DataReceived, 101))[-1].chunk.data == content
    await alice_log.until(lambda: alice_log.of(MessageDelivered)[-1].message is message and message.outcome == 200)
    for session, way in ((alice_session, alice), (bob_session, bob)):
        await session.close()
        await way.close()


async def test_the_relay_knows_a_wrong_password(relay):
    way = connector(relay, is_active=True, password="wrong")
    with pytest.raises(RelayRefused) as raised:
        await way.prepare()
    assert raised.value.code == 401
    await way.close()
