"""Which DNS questions lead from a URI to addresses (RFC 3263 section 4, RFC 2782), as generators without network.

A generator yields a batch of questions, is sent the list of their answers (a list of records each, empty when there
are none), and returns what it found: hops for `sip_routes`, (address, port) pairs for `service_addresses`. It raises
`LookupRefused` when the arguments leave nothing to look for.

Deviation: targets of equal priority are ordered by falling weight, not at random by weight as RFC 2782 says, since the
caller shows and tests the list; and the order of the supported transports outranks that of NAPTR records, since it is
the user's setting. Only A records are asked for.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Generator, Iterable, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

MAX_TARGETS: Final = 32  # of one lookup: a stranger's zone decides how many questions we would ask
MAX_ADDRESSES: Final = 16  # of one host

DEFAULT_PORTS: Final = {"udp": 5060, "tcp": 5060, "tls": 5061}
NAPTR_SERVICES: Final = {"sip+d2u": "udp", "sip+d2t": "tcp", "sips+d2t": "tls"}
SRV_PREFIXES: Final = {"udp": "_sip._udp", "tcp": "_sip._tcp", "tls": "_sips._tcp"}
SERVICES: Final = {"stun": ("_stun._udp", 3478), "msrprelay": ("_msrps._tcp", 2855)}


class Naptr(NamedTuple):
    order: int
    preference: int
    flags: str
    service: str
    replacement: str


class Srv(NamedTuple):
    priority: int
    weight: int
    port: int
    target: str


class Question(NamedTuple):
    """What to ask for: `type` is "NAPTR" (answered by Naptr), "SRV" (Srv) or "A" (address texts)."""

    type: str
    name: str


class Hop(NamedTuple):
    address: str
    port: int
    transport: str


class Target(NamedTuple):
    """A host to be resolved, with what to do with its addresses."""

    host: str
    port: int
    transport: str


class URI(Protocol):
    """The attributes of a SIP URI that the lookup depends on."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int | None: ...
    @property
    def secure(self) -> bool: ...
    @property
    def parameters(self) -> Any: ...


Records: TypeAlias = list[Any]
Hops: TypeAlias = Generator[list[Question], list[Records], list[Hop]]
Targets: TypeAlias = Generator[list[Question], list[Records], list[Target]]
Addresses: TypeAlias = Generator[list[Question], list[Records], list[tuple[str, int]]]


class LookupRefused(Exception):
    """The arguments exclude every answer; the text says why."""


def sip_routes(uri: URI, supported_transports: Sequence[str]) -> Hops:
    """Find the next hops for a SIP URI, best first (RFC 3263 sections 4.1 and 4.2)."""
    supported = _supported(supported_transports)
    dictated = _dictated_transport(uri, supported)
    literal = ip_literal(uri.host)
    if literal is not None or uri.port is not None:
        transport = dictated or "udp"
        _require(transport, supported)
        target = Target(literal or uri.host, uri.port or DEFAULT_PORTS[transport], transport)
        return [Hop(*target)] if literal else (yield from _resolve([target]))
    candidates = [dictated] if dictated else supported
    for strategy in ([] if _parameter(uri) else [_naptr_targets]) + [_srv_targets]:
        targets = yield from strategy(uri.host, candidates)
        hops = yield from _resolve(targets)
        if hops:
            return sorted(hops, key=lambda hop: candidates.index(hop.transport))
    transport = "udp" if "udp" in candidates else candidates[0]
    return (yield from _resolve([Target(uri.host, DEFAULT_PORTS[transport], transport)]))


def service_addresses(host: str, service: str) -> Addresses:
    """Find the servers of a service in the domain, by SRV, else at the host itself."""
    if service not in SERVICES:
        raise LookupRefused(f"Unknown service: {service}")
    prefix, port = SERVICES[service]
    literal = ip_literal(host)
    if literal is not None:
        return [(literal, port)]
    (records,) = yield [Question("SRV", f"{prefix}.{host}")]
    hops = yield from _resolve(_in_order(records, service))
    if not hops:
        hops = yield from _resolve([Target(host, port, service)])
    return [(hop.address, hop.port) for hop in hops]


def ip_literal(host: str) -> str | None:
    """The address when the host is an IP address (IPv6 with or without brackets), else None."""
    try:
        return str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError:
        return None


def _supported(transports: Sequence[str]) -> list[str]:
    names = list(dict.fromkeys(str(transport).lower() for transport in transports))
    if not names:
        raise LookupRefused("No transports are supported")
    if unknown := [name for name in names if name not in DEFAULT_PORTS]:
        raise LookupRefused(f"Unknown transports: {', '.join(unknown)}")
    return names


def _parameter(uri: URI) -> str | None:
    value = uri.parameters.get("transport")
    return value.lower() if value else None


def _dictated_transport(uri: URI, supported: list[str]) -> str | None:
    parameter = _parameter(uri)
    if uri.secure and parameter not in (None, "tls"):
        raise LookupRefused(f"Transport {parameter} dictated by URI conflicts with its sips scheme, which needs tls")
    transport = "tls" if uri.secure else parameter
    if transport is not None:
        _require(transport, supported)
    return transport


def _require(transport: str, supported: list[str]) -> None:
    if transport not in supported:
        raise LookupRefused(f"Transport {transport} dictated by URI is not supported")


def _naptr_targets(host: str, transports: list[str]) -> Targets:
    (records,) = yield [Question("NAPTR", host)]
    usable = [record for record in sorted(records) if NAPTR_SERVICES.get(record.service.lower()) in transports]
    usable = usable[:MAX_TARGETS]
    pointers = list(dict.fromkeys(record.replacement for record in usable if record.flags.lower() == "s"))
    answers = (yield [Question("SRV", name) for name in pointers]) if pointers else []
    services = dict(zip(pointers, answers, strict=True))
    targets: list[Target] = []
    for record in usable:
        transport = NAPTR_SERVICES[record.service.lower()]
        if record.flags.lower() == "s":
            targets += _in_order(services[record.replacement], transport)
        elif record.flags.lower() == "a":
            targets.append(Target(record.replacement, DEFAULT_PORTS[transport], transport))
    return targets


def _srv_targets(host: str, transports: list[str]) -> Targets:
    answers = yield [Question("SRV", f"{SRV_PREFIXES[transport]}.{host}") for transport in transports]
    return [
        target
        for transport, records in zip(transports, answers, strict=True)
        for target in _in_order(records, transport)
    ]


def _in_order(records: Iterable[Srv], transport: str) -> list[Target]:
    ordered = sorted(records, key=lambda record: (record.priority, -record.weight))
    # RFC 2782: the target "." says that the service is decidedly not offered.
    return [Target(record.target, record.port, transport) for record in ordered if record.target not in ("", ".")]


def _resolve(targets: list[Target]) -> Hops:
    targets = targets[:MAX_TARGETS]
    hosts = list(dict.fromkeys(target.host for target in targets if ip_literal(target.host) is None))
    answers = (yield [Question("A", host) for host in hosts]) if hosts else []
    addresses = dict(zip(hosts, answers, strict=True))
    hops = [
        Hop(address, target.port, target.transport)
        for target in targets
        for address in addresses.get(target.host, [ip_literal(target.host)])[:MAX_ADDRESSES]
    ]
    return list(dict.fromkeys(hops))
