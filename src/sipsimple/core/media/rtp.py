"""A pair of UDP ports for one media stream, and what the session description says of it.

`RTPTransport` walks from NULL over INIT (ports open) and LOCAL (our offer is out) to ESTABLISHED (both sides known).
How it comes to keys for SRTP is told by `keying`, what descriptions say of ICE by `connectivity`. A transport that asks
servers for ICE is in WAIT_STUN meanwhile.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
import weakref
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from sipsimple.core.media.client import MediaClient
from sipsimple.core.media.formats import remote_address
from sipsimple.core.media.keying import KEYINGS, OFFERED_SUITES, SUITES, Keying
from sipsimple.core.network import default_address
from sipsimple.core.notices import post
from sipsimple.media import commands
from sipsimple.media.keys import DTLSKeying, Security, SRTPKeys
from sipsimple.sip.errors import SIPCoreError
from sipsimple.sip.sdp import FrozenSDPAttribute, SDPConnection

if TYPE_CHECKING:
    from sipsimple.core.media.connectivity import Connectivity
    from sipsimple.media.ice.values import Candidate, TURNServer

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
        turn_server: TURNServer | None = None,
    ) -> None:
        """`srtp_keying` is how our offers come to keys, `sdes` or `dtls`; `srtp_suites` are those that SDES offers.

        `turn_server` relays for ICE where nothing else works.
        """
        self._wanted_address = _checked_address("local_rtp_address", local_rtp_address)
        self._ice_stun_address = _checked_address("ice_stun_address", ice_stun_address)
        self._ice_stun_port = int(ice_stun_port)
        self._use_srtp, self._srtp_forced, self._use_ice = bool(use_srtp), bool(srtp_forced), bool(use_ice)
        self.keying = _keying(self._use_srtp, self._srtp_forced, srtp_keying, tuple(srtp_suites))
        self._turn_server = turn_server
        self.connectivity: Connectivity | None = _connectivity() if self._use_ice else None
        self._security: Security | None = None
        self._suite: str | None = None
        self._mux = False
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
    def rtcp_mux(self) -> bool:
        """True when RTCP shares the port of RTP, as both descriptions say (RFC 5761)."""
        return self._mux

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
        """True when media goes where ICE found that it can."""
        return self.connectivity is not None and self.connectivity.active

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
        """Where RTP comes from, with ICE the candidate of the remote that was chosen; None until some came."""
        return self.remote_rtp_address_ice or (None if self._received is None else self._received[0])

    @property
    def remote_rtp_port_received(self) -> int | None:
        return self.remote_rtp_port_ice or (None if self._received is None else self._received[1])

    @property
    def remote_rtp_address_ice(self) -> str | None:
        """The candidate of the remote that was chosen for RTP; None unless ICE is active."""
        chosen = self._chosen
        return None if chosen is None else chosen[1].address

    @property
    def remote_rtp_port_ice(self) -> int | None:
        chosen = self._chosen
        return None if chosen is None else chosen[1].port

    @property
    def local_rtp_candidate_type(self) -> str | None:
        """`host`, `srflx`, `prflx` or `relay`; None unless ICE is active."""
        chosen = self._chosen
        return None if chosen is None else chosen[0].type

    @property
    def remote_rtp_candidate_type(self) -> str | None:
        chosen = self._chosen
        return None if chosen is None else chosen[1].type

    @property
    def _chosen(self) -> tuple[Candidate, Candidate] | None:
        return None if self.connectivity is None else self.connectivity.chosen(1)

    def set_INIT(self) -> None:
        """Open the ports, or leave a stream that is over; raises PJSIPError when every port is in use.

        Where servers have to be asked for ICE, INIT or INVALID comes later.
        """
        if self._to_open():
            self._client.start()
            self._bound(self._client.call(self._open_command()))
            if self.connectivity is None:
                self._ready()
            else:
                command = self._gather_command()
                if self._state == "WAIT_STUN":
                    self._client.settle(self._client.request(command), self._gathered)
                else:
                    self._gathered(self._client.call(command), None)

    def open_at_once(self) -> bool:
        """As `open` when that needs no waiting, because ports are ready; otherwise it does nothing: False."""
        if not self._to_open():
            return True
        if self.connectivity is not None:
            return False
        ready = self._client.ready_ports.take(self._any_or_wanted, self._client.port_range)
        if ready is None:
            return False
        self.id = ready.id
        self._own()
        self._bound(ready.local)
        self._ready()
        return True

    async def open(self) -> None:
        """As `set_INIT`, without blocking the loop; raises SIPCoreError also for a STUN server that does not answer."""
        if self._to_open():
            if not self._client.running:
                await asyncio.to_thread(self._client.start)
            reply = await self._client.acall(self._open_command())
            if self._state != "NULL":
                return
            self._bound(reply)
            if self.connectivity is None:
                self._ready()
                return
            try:
                candidates = await self._client.acall(self._gather_command())
            except SIPCoreError as error:
                self._gathered(None, error)
                raise
            self._gathered(candidates, None)

    def _load_security(self) -> None:
        if self.keying.offers in self.keying.accepts:
            self._client.post(commands.LoadSecurity(self.keying.offers == "dtls"))

    def _to_open(self) -> bool:
        """Go to INIT where no port has to be opened for it; tells whether one has."""
        if self._state == "INVALID":
            raise SIPCoreError("the RTP transport was closed: make another one")
        if self._state == "WAIT_STUN":
            raise SIPCoreError(
                "the RTP transport waits for a STUN or TURN server: RTPTransportDidInitialize tells when"
            )
        if self._state in ("LOCAL", "ESTABLISHED"):
            self._state = "INIT"
            self._remote = self._received = None
            self._secure(None)
            self.keying.forget()
            if self.connectivity is not None:
                self.connectivity.drop()
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
            self._client.listen(("ports", self.id), self)

    def handle_media_event(self, event: Any) -> None:
        """What the engine tells of a transport is for those who use it."""

    def engine_died(self, reason: str) -> Callable[[], object] | None:
        """The ports are gone."""
        if self._finalizer is not None:
            self._finalizer.detach()
            self._finalizer = None
        if self._state in ("NULL", "INVALID"):
            return None
        self.close()
        return lambda: post("RTPTransportDidFail", self, reason=reason)

    def _bound(self, local: commands.LocalAddress) -> None:
        self._everywhere = _is_everywhere(local.address)
        address = default_address() if self._everywhere else local.address
        self._local = commands.LocalAddress(address, local.rtp_port, local.rtcp_port)

    def _ready(self) -> None:
        self._state = "INIT"
        post("RTPTransportDidInitialize", self)
        self._load_security()

    def _gather_command(self) -> commands.GatherCandidates:
        assert self.connectivity is not None  # asked by the callers
        assert self._local is not None  # the ports are open
        stun = None if self._ice_stun_address is None else (self._ice_stun_address, self._ice_stun_port)
        if stun is not None or self._turn_server is not None:
            self._state = "WAIT_STUN"
        self._tell_ice("ICE Candidates Gathering")
        credentials = self.connectivity.new_credentials()
        return commands.GatherCandidates(self.id, credentials, self._local.address, stun, self._turn_server)

    def _gathered(self, candidates: tuple[Candidate, ...] | None, error: SIPCoreError | None) -> None:
        if self._state not in ("NULL", "WAIT_STUN") or self.connectivity is None or self._local is None:
            return
        if error is not None or not candidates:
            self.close()
            post("RTPTransportDidFail", self, reason=str(error or "no candidates were found"))
            return
        self.connectivity.candidates = candidates
        rtp, rtcp = self.connectivity.reflexive, self.connectivity.default(2)
        if rtp is not None and rtcp is not None:
            self._local = commands.LocalAddress(rtp.address, rtp.port, rtcp.port)
        self._tell_ice("ICE Candidates Gathered")
        self._ready()

    def _tell_ice(self, state: str) -> None:
        post("RTPTransportICENegotiationStateDidChange", self, state=state)

    def set_LOCAL(self, local_sdp: Any, sdp_index: int) -> None:
        """Complete the media at `sdp_index` of our offer with what concerns the transport."""
        if self._state != "INIT":
            raise SIPCoreError(f"set_LOCAL can only be called in the INIT state, current state is {self._state}")
        self._complete(local_sdp, sdp_index)
        self.write_offer(local_sdp.media[sdp_index])
        self._state = "LOCAL"
        if self.connectivity is not None:
            self.connectivity.offers = True
            self._tell_ice("ICE Session Initialized")

    def set_ESTABLISHED(self, local_sdp: Any, remote_sdp: Any, sdp_index: int) -> None:
        """Know both sides; where the remote offered, `local_sdp` is completed first and has to be mutable."""
        if self._state not in ("INIT", "LOCAL"):
            raise SIPCoreError(
                f"set_ESTABLISHED can only be called in the INIT and LOCAL states, current state is {self._state}"
            )
        if self._state == "INIT":
            self._complete(local_sdp, sdp_index)
            self.write_answer(local_sdp.media[sdp_index], remote_sdp, sdp_index)
            if self.connectivity is not None:
                self._tell_ice("ICE Session Initialized")
        self.agree(local_sdp, remote_sdp, sdp_index)
        self.remote_is(remote_sdp, sdp_index)
        self._state = "ESTABLISHED"

    def write_offer(self, media: Any) -> None:
        """Write into a media of ours that offers how it may be encrypted and reached; raises SDPNegotiationError."""
        self.keying.offer(media)
        if self.connectivity is not None:
            self.connectivity.offer(media)
            # Fewer checks, and one port to keep open; the ports of RTCP are there for those who do not know it.
            _write_mux(media, self.connectivity.gathered and "fingerprint" not in media.attributes)

    def write_answer(self, media: Any, remote_sdp: Any, sdp_index: int) -> None:
        """Write into a media of ours how it is encrypted and reached; raises SDPNegotiationError for what we refuse."""
        self.keying.answer(media, remote_sdp, sdp_index)
        mux = "rtcp-mux" in remote_sdp.media[sdp_index].attributes and "fingerprint" not in media.attributes
        if mux or "rtcp-mux" in media.attributes:
            _write_mux(media, mux)
        if self.connectivity is not None:
            self.connectivity.answer(media, remote_sdp, sdp_index, mux=mux)

    def agree(self, local_sdp: Any, remote_sdp: Any, sdp_index: int) -> None:
        """Take the keys that two descriptions agree on; raises SDPNegotiationError when we demand and have none."""
        self._secure(self.keying.agree(local_sdp, remote_sdp, sdp_index))
        self._mux = all("rtcp-mux" in sdp.media[sdp_index].attributes for sdp in (local_sdp, remote_sdp))

    def connect(self, local_sdp: Any, remote_sdp: Any, sdp_index: int, then: Callable[[], object]) -> None:
        """Have ICE find out where media goes, when two descriptions want that; the outcome is told by notifications.

        `then` is called before them, once it is known; `connectivity` says whether there is anything to wait for.
        """
        ice = self.connectivity
        task = ice.agree(local_sdp, remote_sdp, sdp_index) if ice is not None else None
        if ice is None or task is None:
            return
        if isinstance(task, str):
            self._not_connected(task)
            return
        began = time.monotonic()
        self._tell_ice("ICE Negotiation In Progress")

        def checked(outcome: Any, error: SIPCoreError | None) -> None:
            if self._state == "INVALID" or ice.credentials != task.credentials:
                return  # it is over, or begins anew
            ice.settle(outcome)
            then()
            if error is not None:
                self._not_connected(str(error))
                return
            self._tell_ice("ICE Negotiation Succeeded")
            post("RTPTransportICENegotiationDidSucceed", self, **ice.report(outcome, time.monotonic() - began))

        command = commands.CheckCandidates(self.id, task.credentials, task.remote, task.controlling, self._mux)
        self._client.settle(self._client.request(command), checked)

    def _not_connected(self, reason: str) -> None:
        self._tell_ice("ICE Negotiation Failed")
        post("RTPTransportICENegotiationDidFail", self, reason=reason)

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
        if self.connectivity is not None:
            self.connectivity.drop()
        if self._finalizer is not None:
            self._finalizer()

    def moved(self, address: str) -> None:
        """This host is reached at another address: descriptions say so from now on. Ports of one address stay there."""
        if self._local is not None and self._everywhere:
            self._local = commands.LocalAddress(address, self._local.rtp_port, self._local.rtcp_port)
            if self.connectivity is not None:
                # The candidates are of the old place, and whoever gets descriptions without them does without ICE.
                self.connectivity.drop()

    def write_address(self, media: Any) -> None:
        """Write into a media of ours where its RTCP goes (RFC 3605); nothing before INIT.

        Where a STUN server sees us elsewhere than we are, the media has the address of there.
        """
        local = self._local
        if local is not None:
            if self.connectivity is not None:
                version = "IP6" if ":" in local.address else "IP4"
                seen_elsewhere = self.connectivity.reflexive is not None
                media.connection = SDPConnection(local.address, address_type=version) if seen_elsewhere else None
            family = "IP6" if ":" in local.address else "IP4"
            line = FrozenSDPAttribute("rtcp", f"{local.rtcp_port} IN {family} {local.address}")
            media.attributes = [line, *(attribute for attribute in media.attributes if attribute.name != "rtcp")]

    def _complete(self, local_sdp: Any, sdp_index: int) -> None:
        self.write_address(local_sdp.media[sdp_index])


def _write_mux(media: Any, mux: bool) -> None:
    """Have the media say that RTCP shares the port of RTP, or not."""
    kept = [attribute for attribute in media.attributes if attribute.name != "rtcp-mux"]
    media.attributes = [FrozenSDPAttribute("rtcp-mux", ""), *kept] if mux else kept


def _connectivity() -> Connectivity:
    # Most calls of most programs do without.
    from sipsimple.core.media.connectivity import Connectivity

    return Connectivity()


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
