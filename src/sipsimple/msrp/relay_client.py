"""Our place at a relay: the connection to it, and the authorization that has to be renewed (RFC 4976 5)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from sipsimple.msrp.connection import MSRPConnection, new_transaction_id
from sipsimple.msrp.dial import CONNECT_TIMEOUT, open_connection
from sipsimple.msrp.errors import MSRPConnectError, MSRPError, RelayRefused, SessionClosed
from sipsimple.msrp.relay import RelayAuthorization, RelayState
from sipsimple.msrp.tls import Security
from sipsimple.msrp.trace import Hooks, Statistics
from sipsimple.msrp.uri import DEFAULT_PORT, MSRPURI, new_session_id

__all__ = ["AUTH_TIMEOUT", "RelayClient", "RelaySettings"]

AUTH_TIMEOUT: Final = 30.0


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """A relay, and who we are there. `domain` is what its certificate names and what the AUTH is for.

    `addresses` are where to connect, in the order of preference that a lookup of `_msrps._tcp` gave; empty: `domain`
    itself at `port`.
    """

    domain: str
    username: str
    password: str = field(repr=False)
    port: int = DEFAULT_PORT
    use_tls: bool = True
    addresses: tuple[tuple[str, int], ...] = ()

    @property
    def uri(self) -> MSRPURI:
        """The URI that the AUTH is sent to."""
        return MSRPURI(self.domain, self.port, use_tls=self.use_tls)


class RelayClient:
    """A place at a relay; made by `open`."""

    def __init__(
        self, settings: RelaySettings, connection: MSRPConnection, log: Callable[[str, int], None] | None
    ) -> None:
        self.settings = settings
        self.connection = connection
        self._log = log
        self._renewals: list[asyncio.Task[None]] = []
        connection.hold()

    @classmethod
    async def open(
        cls,
        settings: RelaySettings,
        *,
        security: Security | None = None,
        timeout: float = CONNECT_TIMEOUT,
        hooks: Hooks | None = None,
        statistics: Statistics | None = None,
    ) -> RelayClient:
        """Connect to the first address that answers, within `timeout` seconds for each.

        Raises MSRPConnectError, that of the last address, and UnusableCertificate.
        """
        failure: MSRPConnectError | None = None
        for host, port in settings.addresses or ((settings.domain, settings.port),):
            try:
                connection = await open_connection(
                    host,
                    port,
                    security=(security or Security()) if settings.use_tls else None,
                    server_name=settings.domain,
                    timeout=timeout,
                    hooks=hooks,
                    statistics=statistics,
                )
            except MSRPConnectError as error:
                failure = error
                continue
            return cls(settings, connection, hooks.log if hooks is not None else None)
        assert failure is not None
        raise failure

    async def authorize(self, local_host: str, *, timeout: float = AUTH_TIMEOUT) -> tuple[MSRPURI, ...]:
        """Ask for a path that leads to us through the relay, our own URI last; it is renewed until `close`.

        Raises RelayRefused, MSRPTimeoutError when an answer takes longer than `timeout` seconds, and SessionClosed.
        """
        local_uri = MSRPURI(local_host, DEFAULT_PORT, new_session_id(), use_tls=self.settings.use_tls)
        authorization = RelayAuthorization(
            [self.settings.uri],
            local_uri,
            self.settings.username,
            self.settings.password,
            new_id=new_transaction_id,
        )
        await self._ask(authorization, timeout)
        self._renewals.append(asyncio.ensure_future(self._renew(authorization, timeout)))
        return (*authorization.use_path, local_uri)

    async def close(self) -> None:
        """Leave the relay; sessions that go through it go on."""
        renewals, self._renewals = self._renewals, []
        for renewal in renewals:
            renewal.cancel()
        await asyncio.gather(*renewals, return_exceptions=True)
        await self.connection.release()

    async def _ask(self, authorization: RelayAuthorization, timeout: float) -> None:
        request = authorization.ask()
        loop = asyncio.get_running_loop()
        while True:
            response = await self.connection.request(request, timeout)
            following = authorization.receive(response, loop.time())
            if following is None:
                break
            request = following
        if authorization.state is RelayState.REFUSED:
            raise authorization.error or RelayRefused("AUTH", 0)

    async def _renew(self, authorization: RelayAuthorization, timeout: float) -> None:
        """Ask again in time. When that fails, the session lives as long as the relay lets it: that is how it ends."""
        loop = asyncio.get_running_loop()
        while (wake := authorization.next_wake()) is not None:
            await asyncio.sleep(wake - loop.time())
            try:
                await self._ask(authorization, timeout)
            except SessionClosed:
                return  # the sessions are told by the connection
            except MSRPError as error:
                if self._log is not None:
                    self._log(f"the place at the relay {self.settings.domain} is lost: {error}", logging.ERROR)
                return
