"""What the engine and its client say to each other about ICE; all survive pickling."""

from __future__ import annotations

from ..values import Value


class Candidate(Value):
    """A transport address at which one side may be reached (RFC 8445 5.1)."""

    foundation: str
    component: int
    priority: int
    address: str
    port: int
    type: str
    """`host`, `srflx`, `prflx` or `relay`."""
    related_address: str | None = None
    related_port: int | None = None


class TURNServer(Value):
    """A server that relays (RFC 8656), with our account there; the password never shows in `repr`."""

    address: str
    port: int
    username: str
    password: str
    transport: str = "udp"
    """How it is reached: `udp` or `tcp`."""

    def __repr__(self) -> str:
        return f"TURNServer({self.address!r}, {self.port}, {self.username!r}, {self.transport!r})"


class Credentials(Value):
    """What the checks of one side have to know of the other; the password never shows in `repr`."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials({self.username!r})"


class RemoteICE(Value):
    """What the remote's description says."""

    credentials: Credentials
    candidates: tuple[Candidate, ...]


class Check(Value):
    """What became of one pair of candidates."""

    component: int
    source: str
    destination: str
    nominated: bool
    state: str
    """`Frozen`, `Waiting`, `In Progress`, `Succeeded` or `Failed`."""


class ChosenPair(Value):
    """The pair of one component that both sides agreed on, and where the engine has to send for it.

    That is the remote candidate, or, for what goes through a relay, a socket of this host that forwards it.
    """

    local: Candidate
    remote: Candidate
    address: str
    port: int


class ICEOutcome(Value):
    """Where media goes: a pair for RTP, and one for RTCP unless that goes the same way."""

    pairs: tuple[ChosenPair, ...]
    checks: tuple[Check, ...]
