"""Waiting for connections of others, each of which finds its session by the first chunk (RFC 4975 5.4, 7.3).

A stranger costs a socket until that chunk has come, so there are few at a time and none stays silent for long.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from typing import Final

from sipsimple.msrp import status
from sipsimple.msrp.channel import MSRPSession
from sipsimple.msrp.connection import MSRPConnection
from sipsimple.msrp.errors import MSRPConnectError, MSRPTimeoutError
from sipsimple.msrp.message import MSRPData
from sipsimple.msrp.session import State
from sipsimple.msrp.tls import Security
from sipsimple.msrp.trace import Hooks, Statistics
from sipsimple.msrp.uri import MSRPURI

__all__ = ["FIRST_CHUNK_TIMEOUT", "MAX_HALF_OPEN", "Listener"]

MAX_HALF_OPEN: Final = 16
"""Connections at a time that have not yet said which session they are for."""
FIRST_CHUNK_TIMEOUT: Final = 10.0
"""Seconds for the handshake of TLS, and as many again for the first chunk."""
_BACKLOG: Final = 64
_OUT_OF_RESOURCES: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_RESOURCE_PAUSE: Final = 1.0


class Listener:
    """A listening socket and the sessions that are expected on it; made by `open`."""

    def __init__(
        self,
        socket: socket.socket,
        context: ssl.SSLContext | None,
        *,
        hooks: Hooks | None = None,
        statistics: Statistics | None = None,
        first_chunk_timeout: float = FIRST_CHUNK_TIMEOUT,
    ) -> None:
        self.statistics = statistics or Statistics()
        self.host, self.port = socket.getsockname()[:2]
        self._socket = socket
        self._context = context
        self._hooks = hooks or Hooks()
        self._first_chunk_timeout = first_chunk_timeout
        self._expected: dict[MSRPURI, MSRPSession] = {}
        self._strangers: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.ensure_future(self._accept())

    @classmethod
    async def open(
        cls,
        host: str,
        port: int = 0,
        *,
        security: Security | None = None,
        hooks: Hooks | None = None,
        statistics: Statistics | None = None,
        first_chunk_timeout: float = FIRST_CHUNK_TIMEOUT,
    ) -> Listener:
        """Listen on an IP address, over TLS when there is a `security`; port 0: one that is free.

        Raises MSRPConnectError when the address cannot be had, and UnusableCertificate.
        """
        context = None if security is None else await asyncio.to_thread(getattr, security, "server_context")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except OSError as error:
            raise MSRPConnectError(host, port, f"cannot listen: {error.strerror or error}") from error
        listening.setblocking(False)
        return cls(listening, context, hooks=hooks, statistics=statistics, first_chunk_timeout=first_chunk_timeout)

    def expect(self, session: MSRPSession) -> None:
        """Let the remote of this session connect."""
        session.machine.expect()
        self._expected[session.local_uri] = session

    def forget(self, session: MSRPSession) -> None:
        """Expect this session no more. Once connected it stays connected."""
        self._expected.pop(session.local_uri, None)

    async def close(self) -> None:
        """Stop listening, and drop the strangers; connections of sessions stay."""
        tasks = [self._accepting, *self._strangers]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._socket.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(self._socket)
            except OSError as error:
                # Else the remote has gone before we came.
                is_serious = error.errno in _OUT_OF_RESOURCES
                if is_serious:
                    self._log(f"cannot accept connections: {error.strerror}", logging.ERROR)
                await asyncio.sleep(_RESOURCE_PAUSE if is_serious else 0)
                continue
            if len(self._strangers) >= MAX_HALF_OPEN:
                accepted.close()
                self.statistics.refused_connections += 1
                continue
            task = asyncio.ensure_future(self._meet(accepted))
            self._strangers.add(task)
            task.add_done_callback(self._strangers.discard)

    async def _meet(self, accepted: socket.socket) -> None:
        """Find out which session a stranger is for, or close."""
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.connect_accepted_socket(
                lambda: MSRPConnection(hooks=self._hooks, statistics=self.statistics, find=self._find),
                accepted,
                ssl=self._context,
                ssl_handshake_timeout=None if self._context is None else self._first_chunk_timeout,
            )
        except OSError as error:
            self.statistics.silent_connections += 1
            self._log(f"a connection failed before it began: {error}", logging.INFO)
            return
        first = connection.first_session
        try:
            await asyncio.wait([first], timeout=self._first_chunk_timeout)
        finally:
            # Looked at here: the listener may be closed in the very turn of the loop in which the session was found.
            if not first.done() or first.cancelled():
                self.statistics.silent_connections += 1
                limit = self._first_chunk_timeout
                connection.abort(MSRPTimeoutError(*connection.peer_address, "waiting for the first chunk", limit))
                await connection.closed

    def _find(self, uri: MSRPURI, chunk: MSRPData) -> MSRPSession | int:
        session = self._expected.get(uri)
        if session is None or session.machine.state is State.CLOSED or not session.machine.admits(chunk):
            return status.NO_SESSION
        return status.SESSION_IN_USE if session.connection is not None else session

    def _log(self, message: str, level: int) -> None:
        if self._hooks.log is not None:
            self._hooks.log(message, level)
