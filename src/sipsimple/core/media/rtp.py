"""A pair of UDP ports for one media stream, and what the session description says of it.

`RTPTransport` walks from NULL over INIT (ports open) and LOCAL (our offer is out) to ESTABLISHED (both sides known).
Neither SRTP nor ICE is offered: asked for either, it behaves as towards a peer that has neither.
"""

from __future__ import annotations

import asyncio
import ipaddress
import weakref
from functools import lru_cache
from typing import Any, Final

from sipsimple.core.media.client import MediaClient
from sipsimple.core.media.formats import remote_address
from sipsimple.core.network import default_address
from sipsimple.core.notices import post
from sipsimple.media import commands
from sipsimple.sip.errors import SIPCoreError
from sipsimple.sip.sdp import FrozenSDPAttribute

DEFAULT_STUN_PORT: Final = 3478


class RTPTransport:
    """The sockets of one stream. `set_INIT` blocks for a tick of the engine; in the loop thread use `await open()`."""

    def __init__(
        self,
        local_rtp_address: str | None = None,
        use_srtp: bool = False,
        srtp_forced: bool = False,
        use_ice: bool = False,
        ice_stun_address: str | None = None,
        ice_stun_port: int = DEFAULT_STUN_PORT,
    ) -> None:
        self._wanted_address = _checked_address("local_rtp_address", local_rtp_address)
        self._ice_stun_address = _checked_address("ice_stun_address", ice_stun_address)
        self._ice_stun_port = int(ice_stun_port)
        self._use_srtp, self._srtp_forced, self._use_ice = bool(use_srtp), bool(srtp_forced), bool(use_ice)
        self._client = MediaClient()
        self.id = self._client.new_id()
        self._state = "NULL"
        self._local: commands.LocalAddress | None = None
        self._everywhere = False
        self._remote: tuple[str, int] | None = None
        self._received: tuple[str, int] | None = None
        self._finalizer: weakref.finalize[[commands.Command], Any] | None = None

    @property
    def state(self) -> str:
        return self._state

    @property
    def use_srtp(self) -> bool:
        return self._use_srtp

    @property
    def srtp_forced(self) -> bool:
        return self._srtp_forced

    @property
    def use_ice(self) -> bool:
        return self._use_ice

    @property
    def ice_stun_address(self) -> str | None:
        return self._ice_stun_address

    @property
    def ice_stun_port(self) -> int:
        return self._ice_stun_port

    @property
    def srtp_active(self) -> bool:
        return False

    @property
    def ice_active(self) -> bool:
        return False

    @property
    def local_rtp_address(self) -> str | None:
        """The address to write into a description; None before INIT."""
        return None if self._local is None else self._local.address

    @property
    def local_rtp_port(self) -> int | None:
        return None if self._local is None else self._local.rtp_port

    @property
    def remote_rtp_address_sdp(self) -> str | None:
        """Where the remote description wants RTP to go; None unless ESTABLISHED."""
        return None if self._remote is None else self._remote[0]

    @property
    def remote_rtp_port_sdp(self) -> int | None:
        return None if self._remote is None else self._remote[1]

    @property
    def remote_rtp_address_received(self) -> str | None:
        """Where RTP comes from; None until some came."""
        return None if self._received is None else self._received[0]

    @property
    def remote_rtp_port_received(self) -> int | None:
        return None if self._received is None else self._received[1]

    @property
    def remote_rtp_address_ice(self) -> str | None:
        return None

    @property
    def remote_rtp_port_ice(self) -> int | None:
        return None

    @property
    def local_rtp_candidate_type(self) -> str | None:
        return None

    @property
    def remote_rtp_candidate_type(self) -> str | None:
        return None

    def set_INIT(self) -> None:
        """Open the ports, or leave a stream that is over; raises PJSIPError when every port is in use."""
        if self._to_open():
            self._client.start()
            self._opened(self._client.call(self._open_command()))

    async def open(self) -> None:
        """As `set_INIT`, without blocking the loop."""
        if self._to_open():
            if not self._client.running:
                await asyncio.to_thread(self._client.start)
            reply = await self._client.acall(self._open_command())
            if self._state == "NULL":
                self._opened(reply)

    def _to_open(self) -> bool:
        """Go to INIT where no port has to be opened for it; tells whether one has."""
        if self._state == "INVALID":
            raise SIPCoreError("the RTP transport was closed: make another one")
        if self._state in ("LOCAL", "ESTABLISHED"):
            self._state = "INIT"
            self._remote = self._received = None
        return self._state == "NULL"

    def _open_command(self) -> commands.OpenTransport:
        if self._finalizer is None:
            self._finalizer = weakref.finalize(self, self._client.dismiss, commands.CloseTransport(self.id))
            self._finalizer.atexit = False
        return commands.OpenTransport(self.id, self._wanted_address or "0.0.0.0", self._client.port_range)

    def _opened(self, local: commands.LocalAddress) -> None:
        self._everywhere = _is_everywhere(local.address)
        address = default_address() if self._everywhere else local.address
        self._local = commands.LocalAddress(address, local.rtp_port, local.rtcp_port)
        self._state = "INIT"
        post("RTPTransportDidInitialize", self)

    def set_LOCAL(self, local_sdp: Any, sdp_index: int) -> None:
        """Complete the media at `sdp_index` of our offer with what concerns the transport."""
        if self._state != "INIT":
            raise SIPCoreError(f"set_LOCAL can only be called in the INIT state, current state is {self._state}")
        self._complete(local_sdp, sdp_index)
        self._state = "LOCAL"

    def set_ESTABLISHED(self, local_sdp: Any, remote_sdp: Any, sdp_index: int) -> None:
        """Know both sides; where the remote offered, `local_sdp` is completed first and has to be mutable."""
        if self._state not in ("INIT", "LOCAL"):
            raise SIPCoreError(
                f"set_ESTABLISHED can only be called in the INIT and LOCAL states, current state is {self._state}"
            )
        if self._state == "INIT":
            self._complete(local_sdp, sdp_index)
        self.remote_is(remote_sdp, sdp_index)
        self._state = "ESTABLISHED"

    def remote_is(self, remote_sdp: Any, sdp_index: int) -> None:
        """Note where the remote description wants RTP to go, also when a later one says otherwise."""
        self._remote = (remote_address(remote_sdp, sdp_index), remote_sdp.media[sdp_index].port)

    def heard_from(self, address: str, port: int) -> None:
        """Note where RTP comes from."""
        self._received = (address, port)

    def close(self) -> None:
        """Close the ports. Idempotent; the transport is of no use afterwards."""
        self._state = "INVALID"
        self._remote = self._received = None
        if self._finalizer is not None:
            self._finalizer()

    def moved(self, address: str) -> None:
        """This host is reached at another address: descriptions say so from now on. Ports of one address stay there."""
        if self._local is not None and self._everywhere:
            self._local = commands.LocalAddress(address, self._local.rtp_port, self._local.rtcp_port)

    def write_address(self, media: Any) -> None:
        """Write into a media of ours where its RTCP goes (RFC 3605); nothing before INIT."""
        local = self._local
        if local is not None:
            family = "IP6" if ":" in local.address else "IP4"
            line = FrozenSDPAttribute("rtcp", f"{local.rtcp_port} IN {family} {local.address}")
            media.attributes = [line, *(attribute for attribute in media.attributes if attribute.name != "rtcp")]

    def _complete(self, local_sdp: Any, sdp_index: int) -> None:
        self.write_address(local_sdp.media[sdp_index])


@lru_cache(maxsize=64)
def _checked_address(name: str, address: str | None) -> str | None:
    if address is None:
        return None
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        raise ValueError(f"{name} must be an IP address: {address!r}") from None


@lru_cache(maxsize=64)
def _is_everywhere(address: str) -> bool:
    return ipaddress.ip_address(address).is_unspecified
