"""A pair of UDP ports for one media stream, and what the session description says of it.

`RTPTransport` walks from NULL over INIT (ports open) and LOCAL (our offer is out) to ESTABLISHED (both sides known).
How it comes to keys for SRTP is told by `keying`. ICE is not offered: asked for it, the transport behaves as towards a
peer that has none.
"""

from __future__ import annotations

import asyncio
import ipaddress
import weakref
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from sipsimple.core.media.client import MediaClient
from sipsimple.core.media.formats import remote_address
from sipsimple.core.media.keying import KEYINGS, OFFERED_SUITES, SUITES, Keying
from sipsimple.core.network import default_address
from sipsimple.core.notices import post
from sipsimple.media import commands
from sipsimple.media.keys import DTLSKeying, Security, SRTPKeys
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
        *,
        srtp_keying: str = "sdes",
        srtp_suites: Sequence[str] = OFFERED_SUITES,
    ) -> None:
        """`srtp_keying` is how our offers come to keys, `sdes` or `dtls`; `srtp_suites` are those that SDES offers."""
        self._wanted_address = _checked_address("local_rtp_address", local_rtp_address)
        self._ice_stun_address = _checked_address("ice_stun_address", ice_stun_address)
        self._ice_stun_port = int(ice_stun_port)
        self._use_srtp, self._srtp_forced, self._use_ice = bool(use_srtp), bool(srtp_forced), bool(use_ice)
        self.keying = _keying(self._use_srtp, self._srtp_forced, srtp_keying, tuple(srtp_suites))
        self._security: Security | None = None
        self._suite: str | None = None
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
        """True when what is sent and received now is encrypted."""
        return self._suite is not None

    @property
    def srtp_cipher(self) -> str | None:
        """The suite of SRTP in use, by its name in RFC 4568 or RFC 7714; None when nothing is encrypted."""
        return self._suite

    @property
    def srtp_keying(self) -> str | None:
        """How the keys in use, or under way, were agreed on: `sdes` or `dtls`; None for plain RTP."""
        return self.keying.method

    @property
    def security(self) -> Security | None:
        """What the engine has to know of it."""
        return self._security

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
            self._load_security()

    def open_at_once(self) -> bool:
        """As `open` when that needs no waiting, because ports are ready; otherwise it does nothing: False."""
        if not self._to_open():
            return True
        ready = self._client.ready_ports.take(self._any_or_wanted, self._client.port_range)
        if ready is None:
            return False
        self.id = ready.id
        self._own()
        self._opened(ready.local)
        self._load_security()
        return True

    async def open(self) -> None:
        """As `set_INIT`, without blocking the loop."""
        if self._to_open():
            if not self._client.running:
                await asyncio.to_thread(self._client.start)
            reply = await self._client.acall(self._open_command())
            if self._state == "NULL":
                self._opened(reply)
                self._load_security()

    def _load_security(self) -> None:
        if self.keying.offers in self.keying.accepts:
            self._client.post(commands.LoadSecurity(self.keying.offers == "dtls"))

    def _to_open(self) -> bool:
        """Go to INIT where no port has to be opened for it; tells whether one has."""
        if self._state == "INVALID":
            raise SIPCoreError("the RTP transport was closed: make another one")
        if self._state in ("LOCAL", "ESTABLISHED"):
            self._state = "INIT"
            self._remote = self._received = None
            self._secure(None)
            self.keying.forget()
        return self._state == "NULL"

    @property
    def _any_or_wanted(self) -> str:
        return self._wanted_address or "0.0.0.0"

    def _open_command(self) -> commands.OpenTransport:
        self._own()
        return commands.OpenTransport(self.id, self._any_or_wanted, self._client.port_range)

    def _own(self) -> None:
        """Have the ports closed when this is dropped."""
        if self._finalizer is None:
            self._finalizer = weakref.finalize(self, self._client.dismiss, commands.CloseTransport(self.id))
            self._finalizer.atexit = False

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
        self.write_offer(local_sdp.media[sdp_index])
        self._state = "LOCAL"

    def set_ESTABLISHED(self, local_sdp: Any, remote_sdp: Any, sdp_index: int) -> None:
        """Know both sides; where the remote offered, `local_sdp` is completed first and has to be mutable."""
        if self._state not in ("INIT", "LOCAL"):
            raise SIPCoreError(
                f"set_ESTABLISHED can only be called in the INIT and LOCAL states, current state is {self._state}"
            )
        if self._state == "INIT":
            self._complete(local_sdp, sdp_index)
            self.write_answer(local_sdp.media[sdp_index], remote_sdp, sdp_index)
        self.agree(local_sdp, remote_sdp, sdp_index)
        self.remote_is(remote_sdp, sdp_index)
        self._state = "ESTABLISHED"

    def write_offer(self, media: Any) -> None:
        """Write into a media of ours that offers how it may be encrypted; raises SDPNegotiationError."""
        self.keying.offer(media)

    def write_answer(self, media: Any, remote_sdp: Any, sdp_index: int) -> None:
        """Write into a media of ours how it is encrypted, as the offer allows; raises SDPNegotiationError."""
        self.keying.answer(media, remote_sdp, sdp_index)

    def agree(self, local_sdp: Any, remote_sdp: Any, sdp_index: int) -> None:
        """Take the keys that two descriptions agree on; raises SDPNegotiationError when we demand and have none."""
        self._secure(self.keying.agree(local_sdp, remote_sdp, sdp_index))

    def _secure(self, security: Security | None) -> None:
        before, self._security = self._security, security
        if isinstance(security, SRTPKeys):
            self._suite = security.suite
        elif not (isinstance(security, DTLSKeying) and security == before):
            # The handshake comes first.
            self._suite = None

    def secured(self, suite: str) -> None:
        """Note that a handshake has made the keys."""
        if isinstance(self._security, DTLSKeying):
            self._suite = suite

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
        self._secure(None)
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


def _keying(use_srtp: bool, forced: bool, offers: str, suites: tuple[str, ...]) -> Keying:
    if offers not in KEYINGS:
        raise ValueError(f"srtp_keying is one of {', '.join(KEYINGS)}, not {offers!r}")
    unknown = [suite for suite in suites if suite not in SUITES]
    if unknown or not suites:
        raise ValueError(f"srtp_suites are some of {', '.join(SUITES)}, not {', '.join(unknown) or 'none'}")
    accepts = frozenset(KEYINGS) if use_srtp else frozenset[str]()
    return Keying(offers if use_srtp else None, accepts, use_srtp and forced, suites)


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
