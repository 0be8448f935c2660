"""The ICE agent of one transport: gathers candidates, checks them against the remote's, and keeps the pair alive.

aioice computes (RFC 8445, 7675, 8489, 8656); what it would do with sockets of its own is done here with those of the
engine, so that media goes over the very ports that were checked. Each component has one socket, which is bound to all
addresses of the host or to one: all host candidates share it, and the system chooses the source. Media through a TURN
relay cannot go over the socket of the engine, so it passes by a `Forwarder`.

Deviation: nobody is told by aioice which of several valid pairs is best, so that the first valid one is nominated
(RFC 8445 8.1.1 leaves the criterion to the agent); checks go out in the order of priority.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Callable
from typing import Final

from aioice import Candidate as WireCandidate
from aioice import Connection
from aioice.candidate import candidate_priority
from aioice.ice import CandidatePair, StunProtocol, relayed_candidate
from aioice.stun import Class, Message, Method, TransactionError

from ..errors import ConnectivityFailed
from ..net import Address
from .forwarder import Forwarder, RelayWire
from .hosts import host_addresses, is_everywhere, loopback_like
from .values import Candidate, Check, ChosenPair, Credentials, ICEOutcome, RemoteICE, TURNServer
from .wire import SocketWire

log = logging.getLogger(__name__)

STUN_TIMEOUT: Final = 3.0
"""Seconds for a STUN server, and then for a TURN server, to answer."""
MAX_NEGOTIATION: Final = 10.0
"""Seconds for the checks; most failures show only as silence."""
CONSENT_INTERVAL: Final = 5.0
CONSENT_TIMEOUT: Final = 30.0
"""Seconds without an answer after which the remote does not want to hear us any more (RFC 7675 5.1)."""

_STATES: Final = {
    CandidatePair.State.FROZEN: "Frozen",
    CandidatePair.State.WAITING: "Waiting",
    CandidatePair.State.IN_PROGRESS: "In Progress",
    CandidatePair.State.SUCCEEDED: "Succeeded",
    CandidatePair.State.FAILED: "Failed",
}


class _Connection(Connection):
    """The computing part, on wires that it is given; it asks for consent for as long as the transport lives."""

    def __init__(self, credentials: Credentials, on_consent: Callable[[bool], object]) -> None:
        super().__init__(
            ice_controlling=False,
            components=2,
            local_username=credentials.username,
            local_password=credentials.password,
        )
        # It nominates what has been checked, one pair of each component: RFC 8445 has no other nomination any more.
        self.remote_is_lite = True
        self._on_consent = on_consent

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.local_username, self.local_password)

    def retire(self) -> None:
        """Ask nothing any more, and leave the wires to another."""
        self._closing = True
        tasks = [pair.task for pair in self._check_list]
        for task in (self._query_consent_task, *tasks):
            if task is not None:
                task.cancel()

    def adopt(self, wires: list[StunProtocol], candidates: list[WireCandidate]) -> None:
        self._protocols = wires
        self._local_candidates = candidates
        self._local_candidates_start = self._local_candidates_end = True

    def has_no_rtcp(self) -> None:
        """RTCP goes with RTP: there is one component."""
        self._components.discard(2)

    @property
    def chosen(self) -> list[CandidatePair]:
        return [self._nominated[component] for component in sorted(self._nominated)]

    @property
    def checked(self) -> list[CandidatePair]:
        return self._check_list

    def data_received(self, data: bytes, component: int) -> None:
        """Media is the engine's: what comes before the stream runs is too early to be played."""

    def request_received(self, message: Message, addr: tuple[str, int], protocol: StunProtocol) -> None:
        """Answer a check; one that comes before we know our role has the other one."""
        if self.remote_username is None:
            self.ice_controlling = "ICE-CONTROLLED" in message.attributes
        super().request_received(message, addr, protocol)

    async def query_consent(self) -> None:
        heard = asyncio.get_running_loop().time()
        consents = True
        while True:
            # RFC 7675 5.1: agents must not come to ask in step.
            await asyncio.sleep(CONSENT_INTERVAL * (0.8 + 0.4 * random.random()))
            answers = await asyncio.gather(*(self._ask(pair) for pair in self.chosen))
            now = asyncio.get_running_loop().time()
            heard = now if all(answers) else heard
            if consents != (now - heard < CONSENT_TIMEOUT):
                consents = not consents
                self._on_consent(consents)

    async def _ask(self, pair: CandidatePair) -> bool:
        assert self.remote_password is not None  # the checks before needed it
        request = self.build_request(pair, nominate=False)
        key = self.remote_password.encode()
        try:
            await pair.protocol.request(request, pair.remote_addr, integrity_key=key, retransmissions=2)
        except TransactionError:
            return False
        return True


class Agent:
    """Everything happens in the thread of ICE."""

    def __init__(
        self,
        rtp: socket.socket,
        rtcp: socket.socket,
        credentials: Credentials,
        on_consent: Callable[[bool], object],
    ) -> None:
        """The sockets are copies for this agent, which it closes."""
        self._on_consent = on_consent
        self._connection = _Connection(credentials, on_consent)
        self._wires = [SocketWire(self._connection, sock) for sock in (rtp, rtcp)]
        self._relays: list[RelayWire] = []
        self._forwarders: list[Forwarder] = []
        self._found: list[WireCandidate] = []
        self._candidates: tuple[Candidate, ...] = ()

    def read(self) -> None:
        """Take what arrives on the sockets, until the engine does so itself."""
        for wire in self._wires:
            wire.read()

    def stop_reading(self) -> None:
        """Leave what arrives to the engine, which hands on what is STUN."""
        for wire in self._wires:
            wire.stop_reading()

    def take(self, component: int, data: bytes, source: Address) -> None:
        """Take a datagram that the engine has read."""
        self._wires[component - 1].take(data, source)

    async def gather(
        self, preferred: str, stun_server: tuple[str, int] | None, turn_server: TURNServer | None
    ) -> tuple[Candidate, ...]:
        """Find out where we may be reached; raises ConnectivityFailed when the STUN server does not answer."""
        bound: str = self._wires[0].sock.getsockname()[0]
        hosts = host_addresses(bound, preferred) if is_everywhere(bound) else [bound]
        found: list[WireCandidate] = []
        for component, wire in enumerate(self._wires, 1):
            port = wire.sock.getsockname()[1]
            mine = [_host(component, address, port, index) for index, address in enumerate(hosts)]
            wire.local_candidate = mine[0]
            found += mine
        if stun_server is not None:
            found += await self._reflexive(stun_server)
        if turn_server is not None:
            found += await self._relayed(turn_server)
        self._connection.adopt([*self._wires, *self._relays], found)
        self._found, self._candidates = found, tuple(_ours(it) for it in found)
        return self._candidates

    async def _reflexive(self, server: tuple[str, int]) -> list[WireCandidate]:
        where = await _resolve(server, self._wires[0].sock.family)
        try:
            async with asyncio.timeout(STUN_TIMEOUT):
                return [
                    candidate
                    for candidate in await asyncio.gather(*(_mapped(wire, where) for wire in self._wires))
                    if (candidate.host, candidate.port) != (candidate.related_address, candidate.related_port)
                ]
        except (TimeoutError, TransactionError, KeyError) as error:
            raise ConnectivityFailed(f"the STUN server {server[0]}:{server[1]} does not answer") from error

    async def _relayed(self, server: TURNServer) -> list[WireCandidate]:
        """Ask the server for a relayed address for each component; without one there is no relay."""
        found: list[WireCandidate] = []
        try:
            address, port = await _resolve((server.address, server.port), self._wires[0].sock.family)
            for component, wire in enumerate(self._wires, 1):
                async with asyncio.timeout(STUN_TIMEOUT):
                    candidate, relay = await relayed_candidate(
                        component=component,
                        hide_related_address=False,
                        protocol_factory=lambda: RelayWire(self._connection),
                        turn_server=(address, port),
                        turn_username=server.username,
                        turn_password=server.password,
                        turn_ssl=False,
                        turn_transport=server.transport,
                    )
                assert isinstance(relay, RelayWire)  # it comes from our factory
                candidate.foundation = "R1"
                relay.engine_port = wire.sock.getsockname()[1]
                self._relays.append(relay)
                found.append(candidate)
        except (TimeoutError, TransactionError, ConnectionError, ConnectivityFailed, OSError) as error:
            log.warning("no relay at %s:%d: %s", server.address, server.port, error or "it does not answer")
        return found

    def _restart(self, credentials: Credentials) -> None:
        """Begin anew with the same candidates (RFC 8445 9)."""
        self._connection.retire()
        self._connection = _Connection(credentials, self._on_consent)
        self._connection.adopt([*self._wires, *self._relays], self._found)
        for wire in (*self._wires, *self._relays):
            wire.receiver = self._connection
        for forwarder in self._forwarders:
            forwarder.close()
        self._forwarders.clear()

    async def check(self, credentials: Credentials, remote: RemoteICE, *, controlling: bool, mux: bool) -> ICEOutcome:
        """Check all pairs and agree with the remote on some; raises ConnectivityFailed when none works."""
        if credentials != self._connection.credentials:
            self._restart(credentials)
        connection = self._connection
        connection.ice_controlling = controlling
        connection.remote_username = remote.credentials.username
        connection.remote_password = remote.credentials.password
        if mux:
            connection.has_no_rtcp()
        for candidate in remote.candidates:
            if candidate.component == 1 or not mux:
                await connection.add_remote_candidate(_theirs(candidate))
        await connection.add_remote_candidate(None)
        try:
            async with asyncio.timeout(MAX_NEGOTIATION):
                await connection.connect()
        except TimeoutError:
            raise ConnectivityFailed(f"no pair of candidates was agreed on in {MAX_NEGOTIATION:g} seconds") from None
        except ConnectionError as error:
            raise ConnectivityFailed("no pair of candidates works") from error
        chosen = [await self._chosen(pair) for pair in connection.chosen]
        return ICEOutcome(tuple(chosen), tuple(_result(pair) for pair in connection.checked))

    async def _chosen(self, pair: CandidatePair) -> ChosenPair:
        remote = _ours(pair.remote_candidate)
        if not isinstance(pair.protocol, RelayWire):
            assert isinstance(pair.protocol, SocketWire)
            return ChosenPair(self._local_of(pair, pair.protocol), remote, *pair.remote_addr)
        bound = self._wires[0].sock.getsockname()[0]
        inside = loopback_like(bound) if is_everywhere(bound) else bound
        forwarder = await Forwarder.open(pair.protocol, pair.remote_addr, inside)
        self._forwarders.append(forwarder)
        return ChosenPair(_ours(pair.local_candidate), remote, *forwarder.address)

    def _local_of(self, pair: CandidatePair, wire: SocketWire) -> Candidate:
        """The candidate as which the remote sees us: one of ours, or one that only it has seen (RFC 8445 7.2.5.3.1)."""
        base = _ours(pair.local_candidate)
        seen = wire.seen_as.get(pair.remote_addr, (base.address, base.port))
        for candidate in self._candidates:
            if (candidate.component, candidate.address, candidate.port) == (pair.component, *seen):
                return candidate
        priority = candidate_priority(pair.component, "prflx")
        return Candidate("P1", pair.component, priority, *seen, "prflx", base.address, base.port)

    async def close(self) -> None:
        """End everything; the engine's own sockets stay open."""
        for forwarder in self._forwarders:
            forwarder.close()
        self._connection.adopt([*self._wires, *self._relays], [])
        await self._connection.close()


def _host(component: int, address: str, port: int, index: int) -> WireCandidate:
    priority = candidate_priority(component, "host", 65535 - index)
    return WireCandidate(f"H{index + 1}", component, "udp", priority, address, port, "host")


async def _mapped(wire: SocketWire, server: tuple[str, int]) -> WireCandidate:
    base = wire.local_candidate
    response, _ = await wire.request(Message(message_method=Method.BINDING, message_class=Class.REQUEST), server)
    address, port = response.attributes["XOR-MAPPED-ADDRESS"]
    priority = candidate_priority(base.component, "srflx")
    return WireCandidate(
        "S1", base.component, "udp", priority, address, port, "srflx", related_address=base.host, related_port=base.port
    )


async def _resolve(server: tuple[str, int], family: int) -> tuple[str, int]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(STUN_TIMEOUT):
            found = await loop.getaddrinfo(*server, family=family, type=socket.SOCK_DGRAM)
    except (OSError, TimeoutError, UnicodeError) as error:
        raise ConnectivityFailed(f"the server {server[0]}:{server[1]} has no address of our family") from error
    address = found[0][4]
    return str(address[0]), int(address[1])


def _ours(candidate: WireCandidate) -> Candidate:
    return Candidate(
        candidate.foundation,
        candidate.component,
        candidate.priority,
        candidate.host,
        candidate.port,
        candidate.type,
        candidate.related_address,
        candidate.related_port,
    )


def _theirs(candidate: Candidate) -> WireCandidate:
    return WireCandidate(
        candidate.foundation,
        candidate.component,
        "udp",
        candidate.priority,
        candidate.address,
        candidate.port,
        candidate.type,
    )


def _result(pair: CandidatePair) -> Check:
    return Check(
        pair.component,
        "{}:{}".format(*pair.local_addr),
        "{}:{}".format(*pair.remote_addr),
        pair.nominated,
        _STATES[pair.state],
    )
