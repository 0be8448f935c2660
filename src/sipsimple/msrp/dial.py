"""Making connections: the connecting side of TCP and TLS, and the connections that sessions share (RFC 4975 5.4)."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Sequence
from typing import Final

from sipsimple.msrp.connection import MSRPConnection
from sipsimple.msrp.errors import MSRPConnectError, MSRPTimeoutError, TLSVerifyError
from sipsimple.msrp.tls import Fingerprint, Security, explain_tls_error
from sipsimple.msrp.trace import Hooks, Statistics

__all__ = ["CONNECT_TIMEOUT", "ConnectionPool", "open_connection"]

CONNECT_TIMEOUT: Final = 30.0


async def open_connection(
    host: str,
    port: int,
    *,
    security: Security | None = None,
    server_name: str | None = None,
    fingerprints: Sequence[Fingerprint] = (),
    timeout: float = CONNECT_TIMEOUT,
    hooks: Hooks | None = None,
    statistics: Statistics | None = None,
) -> MSRPConnection:
    """Connect, over TLS when there is a `security`. The certificate has to be one of `fingerprints` if there are any,
    else that of `server_name`, by default `host`.

    Raises MSRPConnectError: TLSVerifyError when it is the wrong remote, MSRPTimeoutError after `timeout` seconds; and
    UnusableCertificate.
    """
    context: ssl.SSLContext | None = None
    if security is not None:
        kind = "fingerprint_context" if fingerprints else "client_context"
        context = await asyncio.to_thread(getattr, security, kind)
    name = None if context is None else server_name or host
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout):
            _, connection = await loop.create_connection(
                lambda: MSRPConnection(hooks=hooks, statistics=statistics),
                host,
                port,
                ssl=context,
                server_hostname=name,
            )
    except TimeoutError as error:
        raise MSRPTimeoutError(host, port, "connecting", timeout) from error
    except ssl.SSLError as error:
        raise explain_tls_error(error, host, port) from error
    except OSError as error:
        # asyncio makes texts of its own, with all addresses that it tried; the number says what it means.
        reason = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else str(error)
        raise MSRPConnectError(host, port, reason) from error
    if fingerprints and not any(entry.matches(connection.peer_certificate) for entry in fingerprints):
        mismatch = TLSVerifyError(host, port, "fingerprint", "it is not the one that the remote has announced")
        connection.abort(mismatch)
        raise mismatch
    return connection


class ConnectionPool:
    """Connections of ours that several sessions share: one to each remote that is reached as the same."""

    def __init__(self, *, hooks: Hooks | None = None, statistics: Statistics | None = None) -> None:
        self._hooks = hooks
        self._statistics = statistics
        self._connections: dict[tuple[object, ...], asyncio.Task[MSRPConnection]] = {}

    async def get(
        self,
        host: str,
        port: int,
        *,
        security: Security | None = None,
        fingerprints: Sequence[Fingerprint] = (),
        timeout: float = CONNECT_TIMEOUT,
    ) -> MSRPConnection:
        """A connection that is open, made if need be; the errors are those of `open_connection`."""
        key = (host.lower(), port, security, tuple(fingerprints))
        task = self._connections.get(key)
        if task is None or not _is_usable(task):
            task = asyncio.ensure_future(
                open_connection(
                    host,
                    port,
                    security=security,
                    fingerprints=fingerprints,
                    timeout=timeout,
                    hooks=self._hooks,
                    statistics=self._statistics,
                )
            )
            self._connections = {entry: old for entry, old in self._connections.items() if _is_usable(old)}
            self._connections[key] = task
        # Others may wait for the same connection: who gives up must not take it from them.
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Close all connections."""
        tasks = list(self._connections.values())
        self._connections.clear()
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, MSRPConnection):
                await result.close()


def _is_usable(task: asyncio.Task[MSRPConnection]) -> bool:
    if not task.done():
        return True
    return not task.cancelled() and task.exception() is None and task.result().is_open
