"""A small DNS server on loopback for tests: answers from a dictionary, by UDP and TCP, counts what it is asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from types import TracebackType

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.resolver
import dns.rrset


class DNSServer(asyncio.DatagramProtocol):
    """`zone` maps (name, type) to record texts; `async with DNSServer(zone) as server`.

    A name that is in no key is NXDOMAIN. `silent` types get no answer, `refused` ones REFUSED, `truncated` ones an
    answer by TCP only; `lost` drops that many queries of each kind first.
    """

    def __init__(
        self,
        zone: dict[tuple[str, str], list[str]],
        *,
        silent: set[str] = frozenset(),
        refused: set[str] = frozenset(),
        truncated: set[str] = frozenset(),
        lost: int = 0,
        ttl: int = 300,
        address: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.zone = {(dns.name.from_text(name), kind): texts for (name, kind), texts in zone.items()}
        self.asked: Counter[tuple[str, str]] = Counter()
        self.silent, self.refused, self.truncated = set(silent), set(refused), set(truncated)
        self.lost, self.ttl, self.address, self.port = lost, ttl, address, port

    async def __aenter__(self) -> DNSServer:
        loop = asyncio.get_running_loop()
        self._tcp = await asyncio.start_server(self._serve_tcp, self.address, self.port)
        self.port = self._tcp.sockets[0].getsockname()[1]
        self._udp, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(self.address, self.port))
        return self

    async def __aexit__(self, kind: type | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._udp.close()
        self._tcp.close()
        await self._tcp.wait_closed()

    def resolver(self, *nameservers: str) -> dns.resolver.Resolver:
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers = list(nameservers) or [self.address]
        resolver.port = self.port
        return resolver

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        response = self._respond(dns.message.from_wire(data), truncate=True)
        if response is not None:
            self._udp.sendto(response.to_wire(), address)

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int.from_bytes(await reader.readexactly(2), "big")
        response = self._respond(dns.message.from_wire(await reader.readexactly(length)), truncate=False)
        wire = response.to_wire() if response is not None else b""
        writer.write(len(wire).to_bytes(2, "big") + wire)
        await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    def _respond(self, query: dns.message.Message, truncate: bool) -> dns.message.Message | None:
        question = query.question[0]
        kind = dns.rdatatype.to_text(question.rdtype)
        asked = (question.name.to_text(omit_final_dot=True), kind)
        self.asked[asked] += 1
        if kind in self.silent or self.asked[asked] <= self.lost:
            return None
        response = dns.message.make_response(query)
        if kind in self.refused:
            response.set_rcode(dns.rcode.REFUSED)
        elif truncate and kind in self.truncated:
            response.flags |= dns.flags.TC
        elif texts := self.zone.get((question.name, kind)):
            response.answer.append(dns.rrset.from_text(question.name, self.ttl, "IN", kind, *texts))
            for glue in self.zone.get((question.name, kind + " glue"), []):
                name, address = glue.split()
                response.additional.append(dns.rrset.from_text(name, self.ttl, "IN", "A", address))
        elif aliases := self.zone.get((question.name, "CNAME")):
            response.answer.append(dns.rrset.from_text(question.name, self.ttl, "IN", "CNAME", *aliases))
        elif not any(name == question.name for name, _ in self.zone):
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response
