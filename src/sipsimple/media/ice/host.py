"""The thread of ICE, with an agent for each transport that wants one; it and its library exist once they are wanted.

The engine has a tick of 20 ms and no other sense of time, while checks go out every few milliseconds and wait for
seconds: so they have a thread with a loop of asyncio, in the same process, where the sockets are. Between the two
threads go calls only: `call_soon_threadsafe` there, `done` back, which the engine takes over in its own thread.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from ..errors import ConnectivityFailed, MediaError
from ..net import Address
from .values import Candidate, Credentials, ICEOutcome, RemoteICE, TURNServer

if TYPE_CHECKING:
    from .agent import Agent

log = logging.getLogger(__name__)

CLOSE_TIMEOUT: Final = 1.0
"""Seconds for relays to be told goodbye at the end."""

Done = Callable[[Any, MediaError | None], object]
"""Takes the outcome or the error, in the thread of ICE."""


class ICEHost:
    """All agents, by the client's identifiers of transports; called in the thread of the engine."""

    def __init__(self, on_consent: Callable[[int, bool], object]) -> None:
        """`on_consent` takes a transport and whether its remote wants to hear us; it is called in the other thread."""
        self._on_consent = on_consent
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._agents: Final[dict[int, Agent]] = {}  # touched in the thread of ICE alone
        self._tasks: Final[set[asyncio.Task[None]]] = set()

    def open(
        self,
        transport: int,
        sockets: tuple[socket.socket, socket.socket],
        credentials: Credentials,
        preferred: str,
        stun_server: tuple[str, int] | None,
        turn_server: TURNServer | None,
        *,
        reads: bool,
        done: Done,
    ) -> None:
        """Gather candidates for a transport, in place of its former agent; `reads`: nobody else reads its sockets."""
        copies = sockets[0].dup(), sockets[1].dup()
        for copy in copies:
            copy.setblocking(False)

        async def gather() -> tuple[Candidate, ...]:
            from .agent import Agent

            await self._end(transport)
            agent = self._agents[transport] = Agent(
                *copies, credentials, lambda consents: self._on_consent(transport, consents)
            )
            if reads:
                agent.read()
            return await agent.gather(preferred, stun_server, turn_server)

        self._run(gather(), done)

    def check(
        self,
        transport: int,
        credentials: Credentials,
        remote: RemoteICE,
        *,
        controlling: bool,
        mux: bool,
        done: Done,
    ) -> None:
        """Have the agent of a transport find the pairs that work; other credentials than before are a restart."""

        async def check() -> ICEOutcome:
            agent = self._agents.get(transport)
            if agent is None:
                raise ConnectivityFailed("no candidates were gathered, or the transport was closed")
            return await agent.check(credentials, remote, controlling=controlling, mux=mux)

        self._run(check(), done)

    def take(self, transport: int, component: int, data: bytes, source: Address) -> None:
        """Hand a STUN message to the agent of a transport."""
        self._call(lambda agent: agent.take(component, data, source), transport)

    def stop_reading(self, transport: int) -> None:
        """From now on the engine reads the sockets."""
        self._call(lambda agent: agent.stop_reading(), transport)

    def forget(self, transport: int) -> None:
        """End the agent of a transport, if it has one."""
        if self._loop is not None:
            self._run(self._end(transport), None)

    def close(self) -> None:
        """End the thread; bounded by `CLOSE_TIMEOUT`."""
        loop, self._loop = self._loop, None
        if loop is None or self._thread is None:
            return

        async def end() -> None:
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await asyncio.gather(*(self._end(transport) for transport in list(self._agents)))
                    # Those that ended before may still be at it.
                    await asyncio.gather(*self._tasks)
            except TimeoutError:
                log.info("a relay was not told goodbye")
            finally:
                for task in self._tasks:
                    task.cancel()
                loop.call_soon(loop.stop)

        asyncio.run_coroutine_threadsafe(end(), loop)
        self._thread.join(2 * CLOSE_TIMEOUT)

    async def _end(self, transport: int) -> None:
        agent = self._agents.pop(transport, None)
        if agent is not None:
            await agent.close()

    def _call(self, function: Callable[[Agent], None], transport: int) -> None:
        def call() -> None:
            agent = self._agents.get(transport)
            if agent is not None:
                function(agent)

        if self._loop is not None:
            self._loop.call_soon_threadsafe(call)

    def _run(self, work: Coroutine[Any, Any, Any], done: Done | None) -> None:
        async def run() -> None:
            outcome, error = None, None
            try:
                outcome = await work
            except MediaError as failure:
                error = failure
            except asyncio.CancelledError:
                error = ConnectivityFailed("the media engine ends")
            except Exception as failure:
                log.exception("ICE failed by a defect")
                error = ConnectivityFailed(f"defect in the media engine: {failure!r}")
            if done is not None:
                done(outcome, error)

        def start() -> None:
            task = loop.create_task(run())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        loop = self._running_loop()
        loop.call_soon_threadsafe(start)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            # The loop that Windows prefers cannot wait for sockets that are not its own.
            self._loop = asyncio.SelectorEventLoop()
            self._thread = threading.Thread(target=_serve, args=(self._loop,), name="media-ice", daemon=True)
            self._thread.start()
        return self._loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        # What was cancelled at the end has a turn to leave.
        loop.run_until_complete(asyncio.gather(*asyncio.all_tasks(loop), return_exceptions=True))
    finally:
        loop.close()
