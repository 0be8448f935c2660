"""The topmost Via: written into what goes out, completed in what comes in, followed by responses.

RFC 3261 18.1.1, 18.2.1 and 18.2.2; RFC 3581 for `rport`.
"""

from __future__ import annotations

import re
import secrets
from typing import Final

from sipsimple.sip.frozen import frozendict
from sipsimple.sip.headers import FrozenViaHeader
from sipsimple.sip.message import Request
from sipsimple.sip.transaction import MAGIC_COOKIE
from sipsimple.sip.transport import Address, Destination
from sipsimple.sip.transport.address import is_ip_literal, same_host, uri_host

_ASKS_PORT: Final = re.compile(r'(?![^,]*;\s*received)([^,"]*?);rport(?=[;,]|$)')
"""The usual first Via: without quotes, with an empty `rport`, without `received`. It need not be parsed twice."""

_BRANCH_BYTES: Final = 10
"""Enough that nobody who does not see our requests can forge a response to one."""


def write_via(request: Request, transport: str, local: Address) -> None:
    """Put a Via with a branch of its own into the request, in the place of all it has."""
    headers = request.headers
    if "Via" in headers:
        headers.remove("Via")
    branch = MAGIC_COOKIE + secrets.token_hex(_BRANCH_BYTES)
    headers.insert(0, "Via", f"SIP/2.0/{transport.upper()} {uri_host(local[0])}:{local[1]};rport;branch={branch}")


def complete_via(request: Request, source: Destination) -> None:
    """Write into the topmost Via where the request really came from; raises MalformedMessage.

    `received` goes in when the remote asked for `rport` or named another host than it sends from.
    """
    raw = request.headers.get("Via")
    if raw is not None and (asking := _ASKS_PORT.match(raw)) is not None:
        address = f";received={source.host.partition('%')[0]};rport={source.port}"
        request.headers.replace_first("Via", asking[1] + address + raw[asking.end() :])
        return
    via = request.via
    asks_port = "rport" in via.parameters
    came_from_there = via.host == source.host or same_host(via.host, source.host)
    if came_from_there and not asks_port and "received" not in via.parameters:
        return
    parameters = dict(via.parameters)
    if asks_port:
        parameters["rport"] = str(source.port)
    parameters["received"] = source.host.partition("%")[0]
    vias = request.vias
    completed = FrozenViaHeader(via.transport, via.host, via.port, frozendict(parameters))
    request.replace_top_via(completed)
    # Replacing has emptied what was parsed; this one is needed again at once.
    request.headers.cache["vias"] = [completed, *vias[1:]]


def response_destination(request: Request, source: Destination) -> Destination:
    """Where responses to the request go when the channel that brought it does not say; raises MalformedMessage.

    `source` is where the request came from. Over UDP that is every response, over the others only those that find
    their connection closed.
    """
    via = request.via
    transport, host = source[:2]
    if transport == "udp":
        if "rport" in via.parameters:
            return source
        maddr = via.parameters.get("maddr")
        if maddr is not None and is_ip_literal(maddr):
            return Destination(transport, maddr.strip("[]"), via.port)
    return source if source.port == via.port and source.peer is None else Destination(transport, host, via.port)
