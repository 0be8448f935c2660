"""The documented face of DNS lookups: `DNSLookup`, its notifications and its awaitable results.

`algorithm` decides what to ask and `resolver` asks it; this module runs one against the other in the event loop and
tells the outcome, exactly once per call, by `DNSLookupDidSucceed` or `DNSLookupDidFail`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sipsimple.lookup.algorithm import URI, LookupRefused, Question, Records, service_addresses, sip_routes
from sipsimple.loop import Result, TaskOwner, run_in_loop
from sipsimple.notification import NotificationCenter, TimestampedNotificationData
from sipsimple.sip.transport.address import is_ip_literal
from sipsimple.util import Route

if TYPE_CHECKING:
    import dns.resolver
    from dns.resolver import Answer

    from sipsimple.lookup.resolver import Memory, Resolver

T = TypeVar("T")


class DNSLookupError(Exception):
    """A lookup found nothing; the text is that of `DNSLookupDidFail.error`."""


class DNSLookup:
    """Looks up SIP proxies by RFC 3263, MSRP relays and STUN servers by SRV.

    Several lookups may run at the same time; the notifications do not say which of them they belong to, so use one
    object per lookup where that matters. To use other name servers than those of the host, replace `resolver_factory`.
    """

    def __init__(self) -> None:
        self._tasks = TaskOwner("DNSLookup")

    @staticmethod
    def resolver_factory() -> dns.resolver.Resolver:
        """The servers, and their port, that lookups use: those that this host is configured for.

        Called once for each lookup, in a thread of the loop's executor, so that a laptop may change networks.
        """
        from dns.resolver import Resolver as SystemResolver

        return SystemResolver()

    def lookup_service(
        self, uri: URI, service: str, timeout: float = 3.0, lifetime: float = 15.0
    ) -> Result[list[tuple[str, int]]]:
        """Find the servers of "stun" or "msrprelay" for the domain `uri.host`: (address, port) pairs, best first.

        `timeout` is for one name server, `lifetime` for the whole lookup, in seconds. The result raises DNSLookupError.
        """
        call = _Call(
            sender=self,
            steps=service_addresses(uri.host, service),
            convert=list[tuple[str, int]],
            nothing_found=f"No {service} servers found for domain {uri.host}",
            timed_out=f"Timeout in lookup for {service} servers for domain {uri.host}",
            trace_data={"context": "lookup_service", "service": service, "uri": uri},
        )
        return self._start(call, timeout, lifetime)

    def lookup_sip_proxy(
        self, uri: URI, supported_transports: Sequence[str], timeout: float = 3.0, lifetime: float = 15.0
    ) -> Result[list[Route]]:
        """Find the routes for a SIP URI, grouped in the order of `supported_transports` ("udp", "tcp", "tls").

        `timeout` is for one name server, `lifetime` for the whole lookup, in seconds. The result raises DNSLookupError.
        """
        domain = None if is_ip_literal(uri.host) else uri.host
        call = _Call(
            sender=self,
            steps=sip_routes(uri, supported_transports),
            convert=lambda hops: [Route(address, port, transport, domain) for address, port, transport in hops],
            nothing_found=f"No routes found for SIP URI {uri}",
            timed_out=f"Timeout in lookup for routes for SIP URI {uri}",
            trace_data={"context": "lookup_sip_proxy", "uri": uri},
        )
        return self._start(call, timeout, lifetime)

    def _start(self, call: _Call[T], timeout: float, lifetime: float) -> Result[T]:
        run_in_loop(self._spawn, call, timeout, lifetime)
        return call.result

    def _spawn(self, call: _Call[Any], timeout: float, lifetime: float) -> None:
        self._tasks.spawn(call.run(timeout, lifetime))


class _Shared:
    """What all lookups remember; made by the first one, because it needs dnspython."""

    memory: Memory | None = None


@dataclass
class _Call(Generic[T]):
    """One call of a lookup method, from its first question to its one final notification."""

    sender: DNSLookup
    steps: Generator[list[Question], list[Records], list[Any]]
    convert: Callable[[list[Any]], T]
    nothing_found: str
    timed_out: str
    trace_data: dict[str, Any]
    result: Result[T] = field(default_factory=Result)

    async def run(self, timeout: float, lifetime: float) -> None:
        """Settle the result; whatever happens, it is settled, and one final notification is posted."""
        try:
            found = await self._look_up(timeout, lifetime)
        except (LookupRefused, DNSLookupError) as error:
            self._fail(str(error))
        except asyncio.CancelledError:
            self._fail("The lookup was cancelled")
            raise
        except Exception as error:
            self._fail(f"The lookup failed: {error}")
            raise
        else:
            value = self.convert(found)
            self._post("DNSLookupDidSucceed", result=value)
            self.result.set_result(value)

    async def _look_up(self, timeout: float, lifetime: float) -> list[Any]:
        # Most lookups of a literal address end here, without dnspython.
        try:
            questions = next(self.steps)
        except StopIteration as end:
            return list(end.value)
        resolver = await self._resolver(timeout, lifetime)
        while True:
            try:
                answers = await resolver.ask(questions)
                questions = self.steps.send(answers)
            except StopIteration as end:
                if end.value:
                    return list(end.value)
                raise DNSLookupError(self.timed_out if resolver.timed_out else self.nothing_found) from None

    async def _resolver(self, timeout: float, lifetime: float) -> Resolver:
        # The first import of dnspython takes long enough to be felt, and reading resolv.conf may block.
        return await asyncio.to_thread(self._make_resolver, timeout, lifetime)

    def _make_resolver(self, timeout: float, lifetime: float) -> Resolver:
        from dns.exception import DNSException

        from sipsimple.lookup.resolver import Memory, Resolver

        try:
            local = self.sender.resolver_factory()
        except (DNSException, OSError) as error:
            raise DNSLookupError(f"No name server is configured on this host: {error}") from error
        if not local.nameservers:
            raise DNSLookupError("No name server is configured on this host")
        if _Shared.memory is None:
            _Shared.memory = Memory()
        return Resolver(local, _Shared.memory, self._trace, timeout, lifetime)

    def _trace(self, query_type: str, query_name: str, answer: Answer | None, error: Exception | None) -> None:
        data = {"query_type": query_type, "query_name": query_name, "answer": answer, "error": error}
        self._post("DNSLookupTrace", **data, **self.trace_data)

    def _fail(self, error: str) -> None:
        self._post("DNSLookupDidFail", error=error)
        self.result.set_exception(DNSLookupError(error))

    def _post(self, name: str, **data: Any) -> None:
        NotificationCenter().post_notification(name, sender=self.sender, data=TimestampedNotificationData(**data))
