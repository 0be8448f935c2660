"""Two agents on loopback that look for a way to each other, and keep it (RFC 8445, RFC 7675)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from sipsimple.media.errors import ConnectivityFailed
from sipsimple.media.ice import agent as module
from sipsimple.media.ice.agent import Agent
from sipsimple.media.ice.hosts import MAX_HOSTS, host_addresses
from sipsimple.media.ice.values import Candidate, Credentials, ICEOutcome, RemoteICE, TURNServer


def bound() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 0))
    return sock


class Side:
    """One agent, with what it knows of itself."""

    def __init__(self, name: str) -> None:
        self.rtp, self.rtcp = bound(), bound()
        self.credentials = Credentials(name * 8, name * 24)
        self.consents: asyncio.Queue[bool] = asyncio.Queue()
        self.agent = Agent(self.rtp.dup(), self.rtcp.dup(), self.credentials, self.consents.put_nowait)
        self.candidates: tuple[Candidate, ...] = ()
        self.agent.read()

    async def gather(self) -> None:
        self.candidates = await self.agent.gather("127.0.0.1", None, None)

    async def check(self, other: Side, *, controlling: bool, mux: bool = False) -> ICEOutcome:
        remote = RemoteICE(other.credentials, other.candidates)
        return await self.agent.check(self.credentials, remote, controlling=controlling, mux=mux)

    async def close(self) -> None:
        await self.agent.close()
        await asyncio.sleep(0)
        self.rtp.close()
        self.rtcp.close()


@pytest.fixture
async def sides() -> AsyncIterator[tuple[Side, Side]]:
    """Two agents that have gathered."""
    both = Side("a"), Side("b")
    for side in both:
        await side.gather()
    yield both
    for side in both:
        await side.close()


async def connect(
    sides: tuple[Side, Side], roles: tuple[bool, bool] = (True, False), *, mux: bool = False
) -> list[ICEOutcome]:
    a, b = sides
    async with asyncio.timeout(5):
        return list(
            await asyncio.gather(a.check(b, controlling=roles[0], mux=mux), b.check(a, controlling=roles[1], mux=mux))
        )


# The last two are conflicts, which RFC 8445 7.3.1.1 repairs.
@pytest.mark.parametrize("roles", [(True, False), (False, True), (True, True), (False, False)])
async def test_both_sides_choose_the_same_pairs(sides: tuple[Side, Side], roles: tuple[bool, bool]):
    ours, theirs = await connect(sides, roles)
    assert [pair.local.component for pair in ours.pairs] == [1, 2]
    for here, there in zip(ours.pairs, theirs.pairs, strict=True):
        assert (here.local.address, here.local.port) == (there.remote.address, there.remote.port)
        assert (here.address, here.port) == (here.remote.address, here.remote.port)
        assert here.local.type == there.local.type == "host"


async def test_a_check_that_comes_before_the_answer_waits_for_it(sides: tuple[Side, Side]):
    a, b = sides
    early = asyncio.ensure_future(b.check(a, controlling=False))
    await asyncio.sleep(0.1)
    assert not early.done()
    async with asyncio.timeout(5):
        await a.check(b, controlling=True)
        await early


async def test_rtcp_that_goes_with_rtp_needs_no_pair(sides: tuple[Side, Side]):
    for outcome in await connect(sides, mux=True):
        assert [pair.local.component for pair in outcome.pairs] == [1]


async def test_other_credentials_begin_anew_on_the_same_ports(sides: tuple[Side, Side]):
    before, _ = await connect(sides)
    for side, name in zip(sides, "cd", strict=True):
        side.credentials = Credentials(name * 8, name * 24)
    after, _ = await connect(sides, (False, True))
    assert after.pairs == before.pairs


async def test_candidates_where_nobody_is_fail_in_time(sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_NEGOTIATION", 0.2)
    a, b = sides
    b.agent.stop_reading()
    with pytest.raises(ConnectivityFailed, match="no pair"):
        await a.check(b, controlling=True)


async def test_consent_is_lost_with_silence_and_comes_back(sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "CONSENT_INTERVAL", 0.05)
    monkeypatch.setattr(module, "CONSENT_TIMEOUT", 0.2)
    monkeypatch.setattr("aioice.stun.RETRY_RTO", 0.05)
    await connect(sides)
    a, b = sides

    async with asyncio.timeout(5):
        b.agent.stop_reading()
        assert await a.consents.get() is False
        b.agent.read()
        assert await a.consents.get() is True


async def test_what_is_no_stun_or_makes_no_sense_is_dropped(sides: tuple[Side, Side]):
    a, b = sides
    for rubbish in (
        b"",
        b"\x00",
        b"\x00\x01" + bytes(18),
        b"\x00\x01\x00\x04\x21\x12\xa4\x42" + bytes(16),
        b"\x80" * 172,
    ):
        a.agent.take(1, rubbish, ("127.0.0.1", 9))
    await connect((a, b))


async def test_a_stun_server_that_is_silent_fails_the_gathering(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "STUN_TIMEOUT", 0.1)
    side, silent = Side("a"), bound()
    try:
        with pytest.raises(ConnectivityFailed, match="does not answer"):
            await side.agent.gather("127.0.0.1", silent.getsockname(), None)
    finally:
        await side.close()
        silent.close()


async def test_a_relay_that_is_silent_is_done_without(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "STUN_TIMEOUT", 0.1)
    side, silent = Side("a"), bound()
    try:
        server = TURNServer(*silent.getsockname(), "user", "secret")
        assert "secret" not in repr(server)
        found = await side.agent.gather("127.0.0.1", None, server)
        assert [it.type for it in found] == ["host", "host"]
    finally:
        await side.close()
        silent.close()


class _IP:
    def __init__(self, ip: str) -> None:
        self.ip = ip


class _Adapter:
    def __init__(self, name: str, *addresses: str) -> None:
        self.nice_name = name
        self.ips = [_IP(address) for address in addresses]


def test_bridges_of_containers_make_no_candidates(monkeypatch: pytest.MonkeyPatch):
    adapters = [
        _Adapter("lo", "127.0.0.1"),
        _Adapter("docker0", "172.17.0.1"),
        _Adapter("br-01ab", "172.18.0.1"),
        _Adapter("eth1", "169.254.3.4", "198.51.100.7"),
        _Adapter("eth0", "192.0.2.5"),
    ]
    monkeypatch.setattr("ifaddr.get_adapters", lambda: adapters)
    assert host_addresses("0.0.0.0", "192.0.2.5") == ["192.0.2.5", "198.51.100.7"]


def test_the_number_of_host_candidates_is_bounded(monkeypatch: pytest.MonkeyPatch):
    adapters = [_Adapter(f"eth{n}", f"192.0.2.{n + 1}") for n in range(20)]
    monkeypatch.setattr("ifaddr.get_adapters", lambda: adapters)
    assert len(host_addresses("0.0.0.0", "192.0.2.19")) == MAX_HOSTS
