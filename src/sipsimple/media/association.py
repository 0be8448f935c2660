"""Whom a DTLS handshake is held with: the signalled remote if it can be, and never two at once.

A remote behind an address translator comes from another address than its description says, and only its certificate
tells it from a stranger. So where the remote begins, whoever speaks first is heard; the signalled address may
interrupt, nobody else. What a stranger spoils begins anew, until the time is up. Where we begin, we hear whom we spoke
to.
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
        if source != self._remote:
            if source != self.signalled and (self._heard or self._keying.active):
                return []
            if self._heard:
                self._begin_anew()
        self._heard, self._remote = True, source
        outgoing = self._addressed(self._handshake.receive(data))
        self._judge(now)
        return outgoing

    def wake(self, now: float) -> Outgoing:
        """Send again what was not answered in time."""
        if self.done:
            return []
        outgoing = self._addressed(self._handshake.wake(now))
        self._judge(now)
        return outgoing

    def end(self) -> Outgoing:
        """Say goodbye, if there was a conversation."""
        return self._addressed(self._handshake.end())

    def _judge(self, now: float) -> None:
        failure = self._handshake.failure
        if failure is None:
            self.keys = self._handshake.keys
        elif self._remote == self.signalled or now >= self._began + HANDSHAKE_SECONDS:
            self.failure = self._spoilt_by or failure
        else:
            self._spoilt_by = failure
            self._begin_anew()

    def _begin_anew(self) -> None:
        self._handshake = Handshake(self._keying, self._began)
        self._heard, self._remote = False, self.signalled

    def _addressed(self, datagrams: list[bytes]) -> Outgoing:
        return [(datagram, self._remote) for datagram in datagrams]
