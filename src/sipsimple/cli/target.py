"""Whom to call and by which way: targets as people type them, proxies, routes."""

from __future__ import annotations

import ipaddress
from typing import Final

from sipsimple.cli.output import WRONG_USE, CommandError, clean
from sipsimple.configuration.datatypes import SIPProxyAddress
from sipsimple.core import SIPURI, SIPCoreError
from sipsimple.lookup import DNSLookup, DNSLookupError
from sipsimple.sip.transport import source_address_towards
from sipsimple.util import Route

TRANSPORTS: Final = ("udp", "tcp")
"""What a call is tried by, first choice first, where the DNS has no opinion."""

LOOPBACK: Final = "127.0.0.1"


def parse_target(text: str, domain: str | None) -> SIPURI:
    """The URI of a target; `domain` completes one that is only a user. Raises CommandError."""
    target = text.strip()
    if not target.lower().startswith(("sip:", "sips:")):
        if "@" not in target and not _is_host(target):
            if domain is None:
                raise CommandError(
                    f"{clean(text)!r} has no domain: name somebody@example.com, or an account with --account", WRONG_USE
                )
            target = f"{target}@{domain}"
        target = f"sip:{target}"
    try:
        return SIPURI.parse(target)
    except SIPCoreError as error:
        raise CommandError(f"{clean(text)!r} is no SIP address: {error}", WRONG_USE) from error


def _is_host(text: str) -> bool:
    host = text.partition(";")[0]
    return "." in host or ":" in host or host == "localhost"


def parse_proxy(text: str) -> SIPProxyAddress:
    """A proxy, `HOST[:PORT][;transport=NAME]`; raises CommandError."""
    try:
        proxy = SIPProxyAddress.from_description(text)
    except ValueError as error:
        raise CommandError(f"the proxy cannot be used: {error}", WRONG_USE) from error
    if proxy is None:
        raise CommandError("the proxy is empty: it has to be HOST[:PORT][;transport=NAME]", WRONG_USE)
    return proxy


def proxy_uri(proxy: SIPProxyAddress) -> SIPURI:
    """The proxy as a URI to look up."""
    return SIPURI(host=proxy.host, port=proxy.port, parameters={"transport": proxy.transport})


async def find_routes(uri: SIPURI) -> list[Route]:
    """The ways to a URI by RFC 3263; raises CommandError."""
    # A host name that no DNS serves, but every system knows.
    lookup = SIPURI.new(uri)
    if uri.host == "localhost":
        lookup.host = LOOPBACK
    try:
        routes = await DNSLookup().lookup_sip_proxy(lookup, list(TRANSPORTS))
    except DNSLookupError as error:
        raise CommandError(
            f"{clean(uri.host)} cannot be resolved: {clean(error)}; check the name, or name a proxy with --proxy"
        ) from error
    return list(routes)


def local_address_for(host: str) -> str | None:
    """The local address that reaches a host given by its address; None for names, which only DNS can tell."""
    try:
        literal = str(ipaddress.ip_address(LOOPBACK if host == "localhost" else host.strip("[]")))
    except ValueError:
        return None
    return source_address_towards(literal)
