"""Where the users of a registrar can be reached: the location service of RFC 3261 10, in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sipsimple.sip.errors import LimitReached
from sipsimple.sip.frozen import frozendict
from sipsimple.sip.headers import FrozenContactHeader
from sipsimple.sip.uri import FrozenSIPURI

MAX_BINDINGS_PER_USER: Final = 10


class OutOfOrder(Exception):
    """A REGISTER that is older than one that was taken already (RFC 3261 10.3 step 7)."""


@dataclass
class Binding:
    """One contact of a user; `expires_at` is monotonic seconds."""

    uri: FrozenSIPURI
    expires_at: float
    call_id: str
    cseq: int


class Locations:
    """The contacts of all users, by user name. Time is handed in."""

    def __init__(self) -> None:
        self._bindings: dict[str, dict[str, Binding]] = {}

    def of(self, user: str, now: float) -> list[Binding]:
        """The contacts of the user that have not expired, the latest first."""
        known = self._bindings.get(user, {})
        for key in [key for key, binding in known.items() if binding.expires_at <= now]:
            del known[key]
        return list(reversed(known.values()))

    def bind(self, user: str, uri: FrozenSIPURI, expires: int, call_id: str, cseq: int, now: float) -> None:
        """Add, refresh or (with `expires` 0) remove a contact; raises OutOfOrder and LimitReached."""
        self.of(user, now)
        known = self._bindings.setdefault(user, {})
        key = str(uri)
        old = known.get(key)
        if old is not None and old.call_id == call_id and cseq <= old.cseq:
            raise OutOfOrder(f"CSeq {cseq} is not above {old.cseq}")
        if expires and old is None and len(known) >= MAX_BINDINGS_PER_USER:
            raise LimitReached("contacts of one user", MAX_BINDINGS_PER_USER)
        known.pop(key, None)
        if expires:
            known[key] = Binding(uri, now + expires, call_id, cseq)

    def clear(self, user: str) -> None:
        """Remove every contact of the user."""
        self._bindings.pop(user, None)

    @staticmethod
    def contact(binding: Binding, now: float) -> FrozenContactHeader:
        """The contact as a response to REGISTER lists it, with the seconds that it has left."""
        left = max(1, round(binding.expires_at - now))
        return FrozenContactHeader(binding.uri, parameters=frozendict({"expires": str(left)}))
