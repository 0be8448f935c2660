"""How a stream comes to its connection: the transport, the relay, the certificate, and who connects (RFC 4975 5.4).

The party that offers connects, the one that answers listens, unless `a=setup` in the offer says otherwise (RFC 6135).
A relay (RFC 4976) is used as the settings of the account say. The one that they name has to work; one that only the
DNS speaks of is done without when it cannot be reached, as most domains have none.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from sipsimple.configuration.settings import SIPSimpleSettings
from sipsimple.core.certificate import self_signed_certificate
from sipsimple.lookup import DNSLookup, DNSLookupError
from sipsimple.msrp import (
    ActiveConnector,
    Connector,
    Event,
    Fingerprint,
    MSRPError,
    MSRPSession,
    PassiveConnector,
    RelayConnector,
    RelaySettings,
    Security,
    SessionClosed,
    SessionOptions,
    Setup,
    answer_setup,
    is_active,
)
from sipsimple.sip.transport.address import family_of, is_ip_literal, source_address_towards
from sipsimple.streams.interface import StreamError
from sipsimple.streams.msrp.transport import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from sipsimple.msrp import MSRPURI, Hooks
    from sipsimple.streams.msrp.description import MSRPDescription

__all__ = ["MSRPStreamError", "Way", "transport_of"]

DEFAULT_RELAY_PORT: Final = 2855
RELAY_TIMEOUT: Final = 30.0
"""Seconds to connect to a relay, and as many for each of its answers."""
LOOKUP_TIMEOUT: Final = 3.0
LOOKUP_LIFETIME: Final = 5.0
GUESSED_RELAY_TIMEOUT: Final = 5.0
"""The same for a relay that nobody has configured; the caller is waiting meanwhile."""
NO_RELAY_MEMORY: Final = 600.0
"""Seconds for which a domain whose relay could not be used is not asked again."""
MAX_REMEMBERED_DOMAINS: Final = 64
FINGERPRINT_ALGORITHMS: Final = ("sha-256", "sha-1")


class MSRPStreamError(StreamError):
    """An MSRP stream cannot be had with these settings; the root of what MSRP streams raise themselves."""


def transport_of(account: Any) -> str:
    """`tls` or `tcp`: the account's own setting if it has one, as BonjourAccount does, else that for all."""
    own = getattr(account, "msrp", None)
    return str(own.transport if own is not None else SIPSimpleSettings().msrp.transport)


class Way:
    """The way of one stream to its session: `prepare`, then `complete`, and `close` in any case."""

    def __init__(
        self, account: Any, hooks: Hooks, *, is_offerer: bool, offer: MSRPDescription | None, follows_setup: bool
    ) -> None:
        self.transport = transport_of(account)
        self.path: tuple[MSRPURI, ...] = ()
        """Ours, for the SDP; empty until prepared."""
        self.fingerprints: tuple[Fingerprint, ...] = ()
        """Of our certificate, for the SDP; empty without TLS, and behind a relay, which has one of its own."""
        self.setup: Setup | None = None
        """What the answer says about who connects; None when the offer does not speak of it."""
        if not is_offerer and offer is not None and follows_setup:
            self.setup = answer_setup(offer.setup)
        self._account = account
        self._hooks = hooks
        self._offer = offer
        self._is_offerer = is_offerer
        self._is_active = is_active(is_offerer, self.setup)
        self._connector: Connector | None = None

    async def prepare(self) -> None:
        """Find our path. Raises MSRPError, and MSRPStreamError for settings that contradict each other."""
        if await self._prepare_relay():
            return
        security = await asyncio.to_thread(_read_security, self._account, True) if self.transport == "tls" else None
        host = self._local_host()
        if self._is_active:
            self._connector = ActiveConnector(host, security=security, hooks=self._hooks)
        else:
            self._connector = PassiveConnector(host, security=security, hooks=self._hooks)
        self.path = await self._connector.prepare()
        if security is not None:
            self.fingerprints = tuple(security.fingerprint(algorithm) for algorithm in FINGERPRINT_ALGORITHMS)

    async def complete(
        self, remote: MSRPDescription, on_event: Callable[[Event], None], options: SessionOptions
    ) -> MSRPSession:
        """The session, bound. Raises MSRPError."""
        if self._connector is None:
            raise SessionClosed("the stream was not prepared")
        return await self._connector.complete(remote.path, on_event, options=options, fingerprints=remote.fingerprints)

    async def close(self) -> None:
        """Let go of what is not the session's own."""
        connector, self._connector = self._connector, None
        if connector is not None:
            await connector.close()

    def _local_host(self) -> str:
        """Our address in the session, or one of the family that the remote can reach."""
        own = str(self._account.contact.domain)
        remote = self._offer.path[0].host if self._offer is not None else None
        if remote is None or not is_ip_literal(remote) or family_of(remote) == family_of(own):
            return own
        return source_address_towards(remote) or own

    # Relays

    async def _prepare_relay(self) -> bool:
        nat = self._account.nat_traversal
        if not (nat.use_msrp_relay_for_outbound if self._is_offerer else nat.use_msrp_relay_for_inbound):
            return False
        if nat.msrp_relay is not None:
            if nat.msrp_relay.transport != self.transport:
                raise MSRPStreamError("MSRP relay transport conflicts with MSRP transport setting")
            await self._join(self._named_relay(nat.msrp_relay))
            return True
        domain = str(self._account.id.domain)
        if _NoRelay.remembers(domain):
            return False
        addresses = await self._look_up(domain)
        if addresses:
            try:
                await self._join(self._relay(domain, addresses=addresses), GUESSED_RELAY_TIMEOUT)
                return True
            except MSRPError as error:
                await self.close()
                log(f"no MSRP relay of {domain} can be used, the stream does without: {error}", logging.WARNING)
        _NoRelay.remember(domain)
        return False

    async def _look_up(self, domain: str) -> tuple[tuple[str, int], ...]:
        lookup = DNSLookup().lookup_service(self._account.uri, "msrprelay", LOOKUP_TIMEOUT, LOOKUP_LIFETIME)
        try:
            return tuple(await lookup)
        except DNSLookupError as error:
            log(f"{domain} has no MSRP relay, the stream does without: {error}", logging.INFO)
            return ()

    def _named_relay(self, relay: Any) -> RelaySettings:
        port = int(relay.port) or DEFAULT_RELAY_PORT
        return self._relay(str(relay.host), port=port, addresses=((str(relay.host), port),))

    def _relay(
        self, domain: str, *, port: int = DEFAULT_RELAY_PORT, addresses: Sequence[tuple[str, int]]
    ) -> RelaySettings:
        credentials = self._account.credentials
        return RelaySettings(
            domain,
            str(credentials.username),
            str(credentials.password),
            port=port,
            use_tls=self.transport == "tls",
            addresses=tuple(addresses),
        )

    async def _join(self, settings: RelaySettings, timeout: float = RELAY_TIMEOUT) -> None:
        security = await asyncio.to_thread(_read_security, self._account, False)
        self._connector = RelayConnector(
            self._local_host(),
            settings,
            is_active=self._is_active,
            security=security,
            hooks=self._hooks,
            connect_timeout=timeout,
            auth_timeout=timeout,
        )
        self.path = await self._connector.prepare()


class _NoRelay:
    """The domains whose relay could not be used lately."""

    _until: dict[str, float] = {}

    @classmethod
    def remembers(cls, domain: str) -> bool:
        return cls._until.get(domain, 0.0) > time.monotonic()

    @classmethod
    def remember(cls, domain: str) -> None:
        if len(cls._until) >= MAX_REMEMBERED_DOMAINS:
            cls._until.clear()
        cls._until[domain] = time.monotonic() + NO_RELAY_MEMORY

    @classmethod
    def forget(cls) -> None:
        """Ask again: the network or the settings have changed."""
        cls._until.clear()


def _read_security(account: Any, needs_certificate: bool) -> Security:
    """Who we are and whom we trust, from the settings; raises MSRPStreamError when a file cannot be read.

    Reads files, and makes a certificate that signs itself when one is needed and none is configured (RFC 4572 3).
    """
    settings = SIPSimpleSettings()
    path = account.tls.certificate
    if path is not None:
        certificate: bytes | None = _read(path, "certificate")
    else:
        certificate = self_signed_certificate() if needs_certificate else None
    authorities = settings.tls.ca_list
    return Security(
        certificate=certificate,
        authorities=None if authorities is None else _read(authorities, "list of authorities"),
        verify=bool(account.tls.verify_server),
    )


def _read(path: str, what: str) -> bytes:
    try:
        with open(os.path.expanduser(path), "rb") as file:
            return file.read()
    except OSError as error:
        raise MSRPStreamError(f"cannot read the {what} {path}: {error.strerror}") from error
