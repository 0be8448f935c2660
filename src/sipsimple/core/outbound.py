"""Flows: the way by which a registrar reaches us, marked in the Contact, kept open, and missed when it ends (RFC 5626).

Of RFC 5626 this is the user agent with one flow: instance-id and reg-id (4.2), dialogs that stay on the flow (4.3),
keep-alives (4.4), and the notice of a lost flow (4.5); when to register anew is for others to decide.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from sipsimple.core.stack import stack
from sipsimple.sip.errors import MalformedMessage, TransportError
from sipsimple.sip.frozen import frozendict
from sipsimple.sip.headers import FrozenContactHeader, FrozenRouteHeader
from sipsimple.sip.lexer import split_list
from sipsimple.sip.message import Response
from sipsimple.sip.timers import Alarm
from sipsimple.sip.transport import Address, Destination
from sipsimple.sip.uri import SIPURI, FrozenSIPURI

REG_ID: Final = "1"
KEEP_ALIVE_STREAM: Final = (95.0, 120.0)
"""Seconds between keep-alives on a connection, unless the server says `Flow-Timer` (RFC 5626 4.4.1)."""
KEEP_ALIVE_DATAGRAM: Final = (24.0, 29.0)
"""The same through a NAT over UDP (RFC 5626 4.4.2), where bindings live shorter."""
FLOW_TIMER_SHARE: Final = (0.8, 1.0)
MIN_FLOW_TIMER: Final = 10.0
"""Whatever the server says, it does not get keep-alives more often."""
LOSS_GRACE: Final = 1.0
"""How long a connection that takes no keep-alive has to tell its end by itself, in seconds."""


def marked(contact: FrozenContactHeader, instance_id: str) -> FrozenContactHeader:
    """The contact with what tells its flow from others: `+sip.instance` and `reg-id`."""
    parameters = {**contact.parameters, "+sip.instance": f'"<{instance_id}>"', "reg-id": REG_ID}
    return FrozenContactHeader(contact.uri, contact.display_name, frozendict(parameters))


def on_flow(contact: FrozenContactHeader, hop: Destination) -> FrozenContactHeader:
    """The contact for a dialog with this first hop: with `ob` when it is a flow that the server has agreed to."""
    uri = contact.uri
    if uri is None or not any(flow.agreed for flow in stack().flows.get(hop, ())):
        return contact
    written = SIPURI.new(uri)
    written.parameters = {**uri.parameters, "ob": None}
    return FrozenContactHeader(FrozenSIPURI.new(written), contact.display_name, contact.parameters)


def supported(options: str, contact: FrozenContactHeader | None) -> str:
    """These option tags, with `outbound` where the contact asks for it; some proxies want to see both."""
    asks = contact is not None and contact.uri is not None and "ob" in contact.uri.parameters
    return f"{options}, outbound" if asks else options


def seen_address(response: Response) -> Address | None:
    """Where the server saw our request come from (RFC 3581 4); None when it does not say."""
    try:
        via = response.via
        if via.received is None and via.rport is None:
            return None
        return via.received or via.host, via.rport or via.port
    except MalformedMessage:
        return None


def service_route(response: Response) -> list[FrozenRouteHeader]:
    """The proxies that our requests have to pass while we are registered (RFC 3608 6); what cannot be read is none."""
    try:
        return [
            FrozenRouteHeader.parse(element)
            for value in response.headers.get_all("Service-Route")
            for element in split_list(value)
        ]
    except MalformedMessage:
        return []


class Flow:
    """What a registration was made over; `lost(error)` is called once when it ends, unless it was closed before."""

    def __init__(self, destination: Destination, response: Response, lost: Callable[[Exception], object]) -> None:
        self.destination = destination
        self._lost: Callable[[Exception], object] | None = lost
        self._endpoint = stack().endpoint
        flow_timer = _seconds(response.headers.get_all("Flow-Timer"))
        self.agreed = "outbound" in _options(response.headers.get_all("Require"))
        """Whether the server does RFC 5626 with us."""
        # Who does not know RFC 5626 may not answer a keep-alive, and is not to be taken for lost then.
        self._answers = self.agreed or flow_timer is not None
        self._interval = KEEP_ALIVE_STREAM
        if destination.transport == "udp":
            self._interval = KEEP_ALIVE_DATAGRAM
        elif flow_timer is not None:
            shortest, longest = FLOW_TIMER_SHARE
            self._interval = shortest * flow_timer, longest * flow_timer
        self._table = stack().flows
        self._table.setdefault(destination, set()).add(self)
        self._alarm = self._arm() if destination.transport != "udp" or _translated(response) else None

    def close(self) -> None:
        """Neither keep it open nor miss it any more; idempotent."""
        self._lost = None
        same_way = self._table.get(self.destination, set())
        same_way.discard(self)
        if not same_way:
            self._table.pop(self.destination, None)
        if self._alarm is not None:
            self._endpoint.cancel_alarm(self._alarm)
            self._alarm = None

    def ended(self, error: Exception) -> None:
        """Tell the loss of the flow."""
        lost = self._lost
        self.close()
        if lost is not None:
            lost(error)

    def _arm(self) -> Alarm:
        when = self._endpoint.now() + random.uniform(*self._interval)
        return self._endpoint.call_at(when, self._keep_alive)

    def _keep_alive(self) -> None:
        try:
            if self._answers:
                self._endpoint.keep_alive(self.destination)
            else:
                self._endpoint.keep_open(self.destination)
        except TransportError as error:
            # A connection that is ending tells so itself in a moment, with the reason.
            self._alarm = self._endpoint.call_at(self._endpoint.now() + LOSS_GRACE, self.ended, error)
        else:
            self._alarm = self._arm()


def connection_lost(destination: Destination, error: Exception) -> None:
    """Tell the flows that were on a connection of its end."""
    for flow in list(stack().flows.get(destination, ())):
        flow.ended(error)


def _translated(response: Response) -> bool:
    """Whether the server saw our request come from elsewhere than where we sent it."""
    with suppress(MalformedMessage):
        via = response.via
        return seen_address(response) not in (None, (via.host, via.port))
    return False


def _seconds(values: Iterable[str]) -> float | None:
    for value in values:
        if value.strip().isdecimal() and len(value) < 10:
            return max(MIN_FLOW_TIMER, float(value))
    return None


def _options(values: Iterable[str]) -> set[str]:
    return {option.strip().lower() for value in values for option in value.split(",")}
