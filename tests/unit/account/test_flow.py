"""An account whose connection with the registrar ends registers again, and does as the registrar asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sipsimple.account import Account, AccountManager, registration
from sipsimple.cli.demo.registrar import Registrar
from sipsimple.configuration.settings import SIPSimpleSettings
from tests.unit.account.conftest import told


@pytest.fixture
async def server() -> AsyncIterator[Registrar]:
    server = Registrar("example.com", {"alice": "s3cret"})
    await server.start(transports=("tcp",))
    yield server
    await server.stop()


@pytest.fixture
async def bob(manager: AccountManager, server: Registrar) -> Any:
    """An account that is not enabled yet, and would register over TCP."""
    account: Any = Account("alice@example.com")
    address = server.endpoint.local_address("tcp")
    assert address is not None
    account.sip.outbound_proxy = type(account).sip.outbound_proxy.type(*address, "tcp")
    account.password = "s3cret"
    return account


async def registered(account: Any) -> None:
    account.enabled = True
    waiting = asyncio.ensure_future(told("SIPAccountRegistrationDidSucceed", account))
    await asyncio.sleep(0)
    account.save()
    await waiting


async def test_a_lost_flow_is_replaced_by_a_new_one(bob, server, record, monkeypatch):
    monkeypatch.setattr(registration, "FIRST_RETRY", 0.05)
    await registered(bob)
    _, port = server.endpoint.local_address("tcp")
    waiting = asyncio.ensure_future(told("SIPAccountRegistrationDidSucceed", bob))
    await server.endpoint.close_transport("tcp")
    await server.endpoint.listen("tcp", "127.0.0.1", port)
    await waiting
    assert record.of(bob).count("SIPAccountWillRegister") == 1
    assert record.of(bob).count("SIPAccountRegistrationWillRefresh") == 1
    assert len(server.locations.of("alice", server.endpoint.now())) == 1
    assert bob.registered


async def test_while_the_server_is_away_the_waits_grow(bob, server, record, monkeypatch):
    monkeypatch.setattr(registration, "FIRST_RETRY", 0.02)
    await registered(bob)
    _, port = server.endpoint.local_address("tcp")
    await server.endpoint.close_transport("tcp")
    timeouts = [(await told("SIPAccountRegistrationDidFail", bob)).data.timeout for _ in range(3)]
    assert 0.02 <= timeouts[0] <= 0.04 <= timeouts[1] <= 0.08 <= timeouts[2] <= 0.16
    waiting = asyncio.ensure_future(told("SIPAccountRegistrationDidSucceed", bob))
    await server.endpoint.listen("tcp", "127.0.0.1", port)
    await waiting


async def test_the_contact_names_this_installation_and_always_the_same(bob, server):
    await registered(bob)
    (binding,) = server.locations.of("alice", server.endpoint.now())
    assert binding.uri.parameters == {"transport": "tcp"}
    instance = SIPSimpleSettings().instance_id
    assert instance.startswith("urn:uuid:")
    assert bob._registrar._registration.instance_id == instance


@pytest.mark.parametrize(("asked", "shortest"), [(120, 120.0), (10**9, 3600.0)])
async def test_an_account_comes_back_when_the_server_has_said(alice, registrar, asked, shortest):
    registrar.answer = lambda request: ["503 Service Unavailable", f"Retry-After: {asked}"]
    alice.enabled = True
    waiting = asyncio.ensure_future(told("SIPAccountRegistrationDidFail", alice))
    await asyncio.sleep(0)
    alice.save()
    assert shortest <= (await waiting).data.timeout <= 1.1 * shortest
