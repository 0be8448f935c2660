"""From two paths in two SDPs to a session that is bound: the ways there are to come together.

Each connector first says what goes into our SDP (`prepare`), then, when the path of the remote is known, brings the
session about (`complete`). Which one is needed follows from who offers and whether there is a relay:

    ActiveConnector    we connect to the first URI of the remote's path
    PassiveConnector   we listen, and the remote connects to us
    RelayConnector     both ways through our relay: `complete` says who sends first
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol

from sipsimple.msrp.channel import MSRPSession, SessionOptions
from sipsimple.msrp.connection import new_transaction_id
from sipsimple.msrp.dial import CONNECT_TIMEOUT, ConnectionPool, open_connection
from sipsimple.msrp.errors import MSRPTimeoutError
from sipsimple.msrp.events import Event
from sipsimple.msrp.listener import Listener
from sipsimple.msrp.relay_client import AUTH_TIMEOUT, RelayClient, RelaySettings
from sipsimple.msrp.tls import Fingerprint, Security
from sipsimple.msrp.trace import Hooks, Statistics
from sipsimple.msrp.uri import DEFAULT_PORT, MSRPURI, new_session_id

__all__ = ["BIND_TIMEOUT", "ActiveConnector", "Connector", "PassiveConnector", "RelayConnector"]

BIND_TIMEOUT: Final = 30.0
RELAY_CHUNK_SIZE: Final = 2048
"""Bytes in a chunk through a relay. That of Kamailio wants a chunk to fit into a buffer, of 4 KiB by default; and up to
this size it need not be interruptible (RFC 4975 7.1.1)."""

Handler = Callable[[Event], None]


class Connector(Protocol):
    """One way to a session. Used once; `close` is called in the end, and before it to give up."""

    async def prepare(self) -> tuple[MSRPURI, ...]:
        """Our path for the SDP. Raises MSRPError."""
        ...

    async def complete(
        self,
        remote_path: Sequence[MSRPURI],
        on_event: Handler,
        *,
        options: SessionOptions | None = None,
        fingerprints: Sequence[Fingerprint] = (),
    ) -> MSRPSession:
        """The session, bound. Raises MSRPConnectError, BindRefused or SessionClosed."""
        ...

    async def close(self) -> None:
        """Let go of what is not the session's: listening sockets, places at relays."""
        ...


class ActiveConnector:
    """We connect, and our SDP says port 2855, where nobody listens. `security` makes it TLS.

    With a `pool` sessions with the same remote share a connection.
    """

    def __init__(
        self,
        local_host: str,
        *,
        security: Security | None = None,
        pool: ConnectionPool | None = None,
        hooks: Hooks | None = None,
        statistics: Statistics | None = None,
        connect_timeout: float = CONNECT_TIMEOUT,
        bind_timeout: float = BIND_TIMEOUT,
    ) -> None:
        self._local_uri = MSRPURI(local_host, DEFAULT_PORT, new_session_id(), use_tls=security is not None)
        self._security = security
        self._pool = pool
        self._hooks = hooks
        self._statistics = statistics
        self._connect_timeout = connect_timeout
        self._bind_timeout = bind_timeout

    async def prepare(self) -> tuple[MSRPURI, ...]:
        return (self._local_uri,)

    async def complete(
        self,
        remote_path: Sequence[MSRPURI],
        on_event: Handler,
        *,
        options: SessionOptions | None = None,
        fingerprints: Sequence[Fingerprint] = (),
    ) -> MSRPSession:
        host, port = remote_path[0].host, remote_path[0].effective_port
        fingerprints = fingerprints if self._security is not None else ()
        if self._pool is not None:
            connection = await self._pool.get(
                host, port, security=self._security, fingerprints=fingerprints, timeout=self._connect_timeout
            )
        else:
            connection = await open_connection(
                host,
                port,
                security=self._security,
                fingerprints=fingerprints,
                timeout=self._connect_timeout,
                hooks=self._hooks,
                statistics=self._statistics,
            )
        session = _make_session((self._local_uri,), remote_path, on_event, options)
        connection.add(session)
        return await _bound(session, "the answer to the first SEND", self._bind_timeout)

    async def close(self) -> None:
        pass  # the connection is the session's


class PassiveConnector:
    """We listen on `local_host`, which goes into the SDP; `port` 0 takes a free one. `security` makes it TLS."""

    def __init__(
        self,
        local_host: str,
        port: int = 0,
        *,
        security: Security | None = None,
        hooks: Hooks | None = None,
        statistics: Statistics | None = None,
        bind_timeout: float = BIND_TIMEOUT,
    ) -> None:
        self._host = local_host
        self._port = port
        self._security = security
        self._hooks = hooks
        self._statistics = statistics
        self._bind_timeout = bind_timeout
        self._listener: Listener | None = None
        self._local_path: tuple[MSRPURI, ...] = ()

    async def prepare(self) -> tuple[MSRPURI, ...]:
        self._listener = await Listener.open(
            self._host, self._port, security=self._security, hooks=self._hooks, statistics=self._statistics
        )
        uri = MSRPURI(self._host, self._listener.port, new_session_id(), use_tls=self._security is not None)
        self._local_path = (uri,)
        return self._local_path

    async def complete(
        self,
        remote_path: Sequence[MSRPURI],
        on_event: Handler,
        *,
        options: SessionOptions | None = None,
        fingerprints: Sequence[Fingerprint] = (),
    ) -> MSRPSession:
        # The fingerprints of who connects to us cannot be checked; sipsimple.msrp.tls says why.
        assert self._listener is not None, "prepare comes first"
        session = _make_session(self._local_path, remote_path, on_event, options)
        self._listener.expect(session)
        is_complete = False
        try:
            await _bound(session, "waiting for the connection", self._bind_timeout)
            await self._listener.close()
            is_complete = True
        finally:
            self._listener.forget(session)
            if not is_complete:
                # Given up meanwhile: nobody will ever hear of a session that was bound just now.
                await session.close(0)
                await self._listener.close()
        return session

    async def close(self) -> None:
        if self._listener is not None:
            await self._listener.close()


class RelayConnector:
    """Through our relay. When `is_active`, the first SEND is ours, else the remote's.

    Raises RelayRefused besides the usual errors. The place at the relay is renewed until `close`, so that comes when
    the session has ended.
    """

    def __init__(
        self,
        local_host: str,
        settings: RelaySettings,
        *,
        is_active: bool,
        security: Security | None = None,
        hooks: Hooks | None = None,
        statistics: Statistics | None = None,
        connect_timeout: float = CONNECT_TIMEOUT,
        auth_timeout: float = AUTH_TIMEOUT,
        bind_timeout: float = BIND_TIMEOUT,
    ) -> None:
        self._local_host = local_host
        self._settings = settings
        self._is_active = is_active
        self._security = security
        self._hooks = hooks
        self._statistics = statistics
        self._connect_timeout = connect_timeout
        self._auth_timeout = auth_timeout
        self._bind_timeout = bind_timeout
        self._client: RelayClient | None = None
        self._local_path: tuple[MSRPURI, ...] = ()

    async def prepare(self) -> tuple[MSRPURI, ...]:
        self._client = await RelayClient.open(
            self._settings,
            security=self._security,
            timeout=self._connect_timeout,
            hooks=self._hooks,
            statistics=self._statistics,
        )
        self._local_path = await self._client.authorize(self._local_host, timeout=self._auth_timeout)
        return self._local_path

    async def complete(
        self,
        remote_path: Sequence[MSRPURI],
        on_event: Handler,
        *,
        options: SessionOptions | None = None,
        fingerprints: Sequence[Fingerprint] = (),
    ) -> MSRPSession:
        # The remote's certificate is shown to its own relay or to ours, never to us.
        assert self._client is not None, "prepare comes first"
        options = options or SessionOptions()
        if options.max_chunk_size is None:
            options = replace(options, max_chunk_size=RELAY_CHUNK_SIZE)
        session = _make_session(self._local_path, remote_path, on_event, options)
        if not self._is_active:
            session.machine.expect()
        self._client.connection.add(session)
        return await _bound(session, "waiting for the other end", self._bind_timeout)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


def _make_session(
    local_path: Sequence[MSRPURI], remote_path: Sequence[MSRPURI], on_event: Handler, options: SessionOptions | None
) -> MSRPSession:
    return MSRPSession(local_path, remote_path, on_event, new_id=new_transaction_id, options=options)


async def _bound(session: MSRPSession, phase: str, timeout: float) -> MSRPSession:
    """Wait for the session; what does not become one is closed."""
    is_bound = False
    try:
        async with asyncio.timeout(timeout):
            await session.bound()
        is_bound = True
    except TimeoutError as error:
        remote = session.remote_path[0]
        raise MSRPTimeoutError(remote.host, remote.effective_port, phase, timeout) from error
    finally:
        if not is_bound:
            await session.close(0)
    return session
