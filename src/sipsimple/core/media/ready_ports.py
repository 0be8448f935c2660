"""Pairs of ports that the media engine has opened ahead, so that a call can describe itself without waiting for it.

Asking for ports takes a turn of two processes, and a call has nothing to say before it knows them. So some are asked
for ahead: a transport that finds its pair ready takes it at once. How many are kept grows with the calls that come
between two looks at the engine; nothing is opened before the first call, which has to wait.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final, NamedTuple

from sipsimple.media import commands
from sipsimple.sip.errors import SIPCoreError

if TYPE_CHECKING:
    from sipsimple.core.media.client import MediaClient

FIRST_READY: Final = 8
"""Pairs that are kept ready after the first call."""

MAX_READY: Final = 128
"""Pairs that are kept ready when calls come quickly."""

MAX_PART_READY: Final = 0.25
"""The part of a port range that may be kept ready; the rest is for those who come in another way."""

MAX_SHELVES: Final = 4
"""Addresses and port ranges for which pairs are kept ready at a time."""

PortRange = tuple[int, int]


class ReadyTransport(NamedTuple):
    """A transport that is open in the engine, and that nobody uses yet."""

    id: int
    local: commands.LocalAddress


class _Shelf:
    """What is ready for one address and range."""

    def __init__(self, port_range: PortRange) -> None:
        self.most = min(MAX_READY, int((port_range[1] - port_range[0]) // 2 * MAX_PART_READY))
        self.wanted = min(FIRST_READY, self.most)
        self.ready: deque[ReadyTransport] = deque()
        self.is_waiting = False


class ReadyPorts:
    """The transports that are ready; used in the loop thread alone."""

    def __init__(self, client: MediaClient) -> None:
        self._client = client
        self._shelves: dict[tuple[str, PortRange], _Shelf] = {}

    def take(self, address: str, port_range: PortRange) -> ReadyTransport | None:
        """A transport that is ready, which is then the caller's to close; None when there is none.

        Whoever does not find one has to open one, and may find one the next time.
        """
        shelf = self._shelves.get((address, port_range)) or self._new_shelf(address, port_range)
        found = shelf.ready.popleft() if shelf.ready else None
        if found is None and not shelf.is_waiting and shelf.most:
            self._ask(shelf, address, port_range)
        elif found is None:
            shelf.wanted = min(2 * shelf.wanted, shelf.most)
        elif len(shelf.ready) < shelf.wanted // 2 and not shelf.is_waiting:
            self._ask(shelf, address, port_range)
        return found

    def _new_shelf(self, address: str, port_range: PortRange) -> _Shelf:
        if len(self._shelves) >= MAX_SHELVES:
            self._clear(next(iter(self._shelves)))
        shelf = self._shelves[address, port_range] = _Shelf(port_range)
        return shelf

    def _ask(self, shelf: _Shelf, address: str, port_range: PortRange) -> None:
        shelf.is_waiting = True
        ids = tuple(self._client.new_id() for _ in range(shelf.wanted - len(shelf.ready)))

        def answered(opened: tuple[commands.LocalAddress, ...] | None, error: SIPCoreError | None) -> None:
            # Whoever needs ports at such an address is told what is wrong with it when it opens them itself.
            shelf.is_waiting = False
            ready = [ReadyTransport(*pair) for pair in zip(ids, opened or (), strict=False)]
            if self._shelves.get((address, port_range)) is shelf:
                shelf.ready.extend(ready)
            else:
                self._close(ready)

        request: Future[object] = self._client.request(commands.OpenTransports(ids, address, port_range))
        self._client.settle(request, answered)

    def _clear(self, key: tuple[str, PortRange]) -> None:
        self._close(self._shelves.pop(key).ready)

    def _close(self, transports: list[ReadyTransport] | deque[ReadyTransport]) -> None:
        for transport in transports:
            self._client.dismiss(commands.CloseTransport(transport.id))
