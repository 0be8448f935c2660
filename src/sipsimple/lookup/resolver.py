"""Asks name servers, with dnspython: the authoritative ones of a name first, then the locally configured ones.

Some home routers answer NAPTR and SRV queries wrongly, so the NS records of each name are sought first (from the name
up to its last label), and the servers that they name are asked. Where that fails, the local servers are asked. One
`Resolver` serves one lookup and shares its time among all queries; answers and silent servers are remembered in the
`Memory` that all lookups share. This is the only module that imports dnspython; import it late, it takes a while.
"""

# mypy: allow-untyped-calls
# (the constructors of dnspython's exceptions have no types)

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import dns.asyncbackend
import dns.exception
import dns.message
import dns.name
import dns.nameserver
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.resolver

from sipsimple.lookup.algorithm import LookupRefused, Naptr, Question, Records, Srv

MAX_CACHED_ANSWERS: Final = 1000
MAX_CACHE_TTL: Final = 3600
MAX_RECORDS: Final = 64  # used of one answer
MAX_AUTHORITATIVE: Final = 2  # servers asked, so that a network that blocks them costs no more than two timeouts
MAX_SILENT_SERVERS: Final = 200
SILENCE_REMEMBERED: Final = 300.0  # seconds

Trace: TypeAlias = Callable[[str, str, dns.resolver.Answer | None, Exception | None], None]


class Memory:
    """What lookups remember of each other: positive answers, and servers that lately did not answer."""

    def __init__(self) -> None:
        self.answers = dns.resolver.LRUCache(MAX_CACHED_ANSWERS)
        self._silent: dict[str, float] = {}

    def put(self, key: dns.resolver.CacheKey, answer: dns.resolver.Answer) -> None:
        answer.expiration = min(answer.expiration, time.time() + MAX_CACHE_TTL)
        self.answers.put(key, answer)

    def note_silence(self, server: dns.nameserver.Nameserver) -> None:
        if len(self._silent) >= MAX_SILENT_SERVERS:
            self._silent.clear()
        self._silent[str(server)] = time.monotonic() + SILENCE_REMEMBERED

    def is_silent(self, server: dns.nameserver.Nameserver) -> bool:
        return self._silent.get(str(server), 0.0) > time.monotonic()


class Resolver:
    """Asks the questions of one lookup.

    `local` says which servers are the local ones and their port; `trace(type, name, answer, error)` is told of each
    query. `timeout` is for one server, `lifetime` for everything, both in seconds. `timed_out` tells afterwards
    whether some query got no answer in time.
    """

    def __init__(
        self, local: dns.resolver.Resolver, memory: Memory, trace: Trace, timeout: float, lifetime: float
    ) -> None:
        self.timed_out = False
        self._port = local.port
        self._local = [self._server(server, local.nameserver_ports) for server in local.nameservers]
        self._memory = memory
        self._trace = trace
        self._timeout = timeout
        self._deadline = time.monotonic() + lifetime
        self._asked: dict[tuple[dns.name.Name, str], asyncio.Task[dns.resolver.Answer | None]] = {}
        self._discover = True
        self._backend = dns.asyncbackend.get_backend("asyncio")

    async def ask(self, questions: list[Question]) -> list[Records]:
        """Ask all at the same time; a question without answer has no records. Raises LookupRefused."""
        names = [_name(question.name) for question in questions]
        tasks = [
            asyncio.ensure_future(self._find(name, question.type))
            for name, question in zip(names, questions, strict=True)
        ]
        try:
            return [_records(await task) for task in tasks]
        finally:
            for task in [*tasks, *self._asked.values()]:
                task.cancel()

    async def _find(self, name: dns.name.Name, rdtype: str) -> dns.resolver.Answer | None:
        cached = self._memory.answers.get(_key(name, rdtype))
        if cached is not None:
            self._trace(rdtype, _text(name), cached, None)
            return cached
        servers = await self._authoritative(name) if self._discover else []
        if servers:
            try:
                return await self._query(name, rdtype, servers)
            except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
                return None
            except dns.exception.Timeout:
                # This network lets us ask only its own servers, or the zone is broken.
                self._discover = False
            except dns.resolver.NoNameservers:
                pass
        return await self._ask_local(name, rdtype)

    async def _ask_local(self, name: dns.name.Name, rdtype: str) -> dns.resolver.Answer | None:
        """Ask the local servers, once in the life of this resolver; concurrent callers share the query."""
        key = (name, rdtype)
        if key not in self._asked:
            self._asked[key] = asyncio.ensure_future(self._query_or_none(name, rdtype))
        return await asyncio.shield(self._asked[key])

    async def _query_or_none(self, name: dns.name.Name, rdtype: str) -> dns.resolver.Answer | None:
        cached = self._memory.answers.get(_key(name, rdtype))
        if cached is not None:
            self._trace(rdtype, _text(name), cached, None)
            return cached
        try:
            return await self._query(name, rdtype, self._local)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer, dns.resolver.NoNameservers):
            return None
        except dns.exception.Timeout:
            self.timed_out = True
            if rdtype == "NS":
                self._discover = False
            return None

    async def _authoritative(self, name: dns.name.Name) -> list[dns.nameserver.Nameserver]:
        zone = name
        while len(zone.labels) > 1 and self._discover:
            answer = await self._ask_local(zone, "NS")
            if answer is not None:
                addresses = await self._server_addresses(answer)
                servers = [self._server(address, {}) for address in addresses]
                return [server for server in servers if not self._memory.is_silent(server)][:MAX_AUTHORITATIVE]
            zone = zone.parent()
        return []

    async def _server_addresses(self, answer: dns.resolver.Answer) -> list[str]:
        """Addresses of the name servers: from the additional section, else by asking the local servers."""
        names = [record.target for record in answer][:MAX_RECORDS]
        addresses = [
            record.address
            for rrset in answer.response.additional
            if rrset.rdtype == dns.rdatatype.A and rrset.name in names
            for record in rrset
        ]
        if not addresses:
            asked = await asyncio.gather(*(self._ask_local(name, "A") for name in names[:MAX_AUTHORITATIVE]))
            addresses = [record.address for found in asked if found is not None for record in found]
        return addresses

    async def _query(
        self, name: dns.name.Name, rdtype: str, servers: list[dns.nameserver.Nameserver]
    ) -> dns.resolver.Answer:
        """Ask one server after the other until one answers, and report the query to `trace`."""
        try:
            answer = await self._query_servers(name, rdtype, servers)
        except dns.exception.DNSException as error:
            self._trace(rdtype, _text(name), None, error)
            raise
        self._memory.put(_key(name, rdtype), answer)
        self._trace(rdtype, _text(name), answer, None)
        return answer

    async def _query_servers(
        self, name: dns.name.Name, rdtype: str, servers: list[dns.nameserver.Nameserver]
    ) -> dns.resolver.Answer:
        request = dns.message.make_query(name, rdtype)
        errors: list[Any] = []
        silent = not servers
        for server in servers:
            timeout = min(self._timeout, self._deadline - time.monotonic())
            if timeout <= 0:
                silent = True
                break
            try:
                response = await self._exchange(request, server, timeout)
                answer = _answer(name, rdtype, response, server)
            except dns.exception.Timeout:
                silent = True
                self._memory.note_silence(server)
            except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
                raise
            except (OSError, EOFError, dns.exception.DNSException) as error:
                errors.append((str(server), False, server.answer_port(), error, None))
            else:
                return answer
        if silent:
            raise dns.exception.Timeout(timeout=self._timeout)
        raise dns.resolver.NoNameservers(request=request, errors=errors)

    async def _exchange(
        self, request: dns.message.QueryMessage, server: dns.nameserver.Nameserver, timeout: float
    ) -> dns.message.Message:
        """One query to one server: sent again at half time in case a datagram was lost, by TCP when truncated."""
        until = time.monotonic() + timeout
        first = asyncio.ensure_future(self._send(request, server, timeout, max_size=server.is_always_max_size()))
        attempts = {first}
        try:
            done, _ = await asyncio.wait(attempts, timeout=timeout / 2)
            if not done:
                again = self._send(request, server, timeout / 2, max_size=server.is_always_max_size())
                attempts.add(asyncio.ensure_future(again))
                done, _ = await asyncio.wait(attempts, return_when=asyncio.FIRST_COMPLETED)
            try:
                return done.pop().result()
            except dns.message.Truncated:
                return await self._send(request, server, until - time.monotonic(), max_size=True)
        finally:
            for attempt in attempts:
                attempt.cancel()
            await asyncio.gather(*attempts, return_exceptions=True)

    async def _send(
        self, request: dns.message.QueryMessage, server: dns.nameserver.Nameserver, timeout: float, *, max_size: bool
    ) -> dns.message.Message:
        return await server.async_query(request, timeout, None, 0, max_size, self._backend)

    def _server(self, server: str | dns.nameserver.Nameserver, ports: dict[str, int]) -> dns.nameserver.Nameserver:
        if isinstance(server, dns.nameserver.Nameserver):
            return server
        if server.startswith("https://"):
            return dns.nameserver.DoHNameserver(server)
        return dns.nameserver.Do53Nameserver(server, ports.get(server, self._port))


def _name(text: str) -> dns.name.Name:
    try:
        return dns.name.from_text(text)
    except (dns.exception.DNSException, UnicodeError) as error:
        raise LookupRefused(f"{text!r} is no host name: {error}") from error


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True)


def _key(name: dns.name.Name, rdtype: str) -> dns.resolver.CacheKey:
    return (name, dns.rdatatype.from_text(rdtype), dns.rdataclass.IN)


def _answer(
    name: dns.name.Name, rdtype: str, response: dns.message.Message, server: dns.nameserver.Nameserver
) -> dns.resolver.Answer:
    """The answer in a response; raises NXDOMAIN, NoAnswer or, for a server that is of no use, DNSException."""
    if response.rcode() == dns.rcode.NXDOMAIN:
        raise dns.resolver.NXDOMAIN(qnames=[name], responses={name: response})
    if response.rcode() != dns.rcode.NOERROR or not isinstance(response, dns.message.QueryMessage):
        raise dns.exception.DNSException(f"the server answered {dns.rcode.to_text(response.rcode())}")
    _, rrtype, rrclass = _key(name, rdtype)
    answer = dns.resolver.Answer(name, rrtype, rrclass, response, server.answer_nameserver(), server.answer_port())
    if answer.rrset is None:
        if answer.canonical_name != name:
            # A server of the zone knows the alias alone; where it leads is for a recursive server to find out.
            raise dns.exception.DNSException(
                f"{name} is an alias of {answer.canonical_name}, which is not in the answer"
            )
        raise dns.resolver.NoAnswer(response=response)
    return answer


def _records(answer: dns.resolver.Answer | None) -> Records:
    return [] if answer is None else [_record(record) for record in list(answer)[:MAX_RECORDS]]


def _record(record: Any) -> Naptr | Srv | str:
    if record.rdtype == dns.rdatatype.NAPTR:
        flags, service = record.flags.decode("ascii", "replace"), record.service.decode("ascii", "replace")
        return Naptr(record.order, record.preference, flags, service, _text(record.replacement))
    if record.rdtype == dns.rdatatype.SRV:
        return Srv(record.priority, record.weight, record.port, _text(record.target))
    return str(record.address)
