"""Whom a DTLS handshake is held with: the signalled remote if it can be, and never two at once.

A remote behind an address translator comes from another address than its description says, and only its certificate
tells it from a stranger. So whoever says something that can be answered is heard. Where the remote begins, the
signalled address may interrupt; where we began, nobody may, because who answers has seen what we said. What a stranger
spoils begins anew, until the time is up.
"""

from __future__ import annotations

from typing import Final

from .dtls import HANDSHAKE_SECONDS, Handshake
from .keys import DTLSKeying, SRTPKeys
from .net import Address

Outgoing = list[tuple[bytes, Address]]


class Association:
    """One handshake, as often as it has to begin anew. `keys` or `failure` tell the outcome."""

    def __init__(self, keying: DTLSKeying, signalled: Address, now: float) -> None:
        """Raises StreamError when our certificate cannot be used, or the library is not there."""
        self._keying: Final = keying
        self._began: Final = now
        self.signalled = signalled
        self._remote = signalled
        self._heard = False
        self._spoilt_by: str | None = None
        self._handshake = Handshake(keying, now)
        self.keys: SRTPKeys | None = None
        self.failure: str | None = None

    @property
    def done(self) -> bool:
        """Whether the outcome is known."""
        return self.keys is not None or self.failure is not None

    def begin(self) -> Outgoing:
        """What to send first: nothing when the remote begins."""
        return self._addressed(self._handshake.begin())

    def receive(self, data: bytes, source: Address, now: float) -> Outgoing:
        """Take a datagram in; returns what to send."""
        if self.done:
            return self._addressed(self._handshake.receive(data)) if source == self._remote else []
        if self._heard and source != self._remote:
            if self._keying.active or source != self.signalled:
                return []
            self._begin_anew()
        datagrams = self._handshake.receive(data)
        if datagrams or self._handshake.done:
            self._heard, self._remote = True, source
        return self._addressed(datagrams) + self._judge(now)

    def signal(self, address: Address) -> None:
        """Take a newly signalled address; a remote that was not heard yet is expected there."""
        self.signalled = address
        if not self._heard:
            self._remote = address

    def wake(self, now: float) -> Outgoing:
        """Send again what was not answered in time."""
        if self.done:
            return []
        return self._addressed(self._handshake.wake(now)) + self._judge(now)

    def end(self) -> Outgoing:
        """Say goodbye, if there was a conversation."""
        return self._addressed(self._handshake.end())

    def _judge(self, now: float) -> Outgoing:
        """Take over the outcome, if there is one; returns what to send if that is a new beginning."""
        failure = self._handshake.failure
        if failure is None:
            self.keys = self._handshake.keys
        elif self._remote == self.signalled or now >= self._began + HANDSHAKE_SECONDS:
            self.failure = self._spoilt_by or failure
        else:
            self._spoilt_by = failure
            return self._begin_anew()
        return []

    def _begin_anew(self) -> Outgoing:
        self._handshake = Handshake(self._keying, self._began)
        self._heard, self._remote = False, self.signalled
        return self.begin()

    def _addressed(self, datagrams: list[bytes]) -> Outgoing:
        return [(datagram, self._remote) for datagram in datagrams]
