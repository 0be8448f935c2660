"""The session descriptions of a dialog, as applications see them."""

from __future__ import annotations

from sipsimple.sip.negotiation import Negotiator
from sipsimple.sip.sdp import FrozenSDPSession


class SDPPayloads:
    """The descriptions of a dialog: `active_*` are in force, `proposed_*` are being negotiated."""

    __slots__ = ("_negotiator",)

    def __init__(self, negotiator: Negotiator) -> None:
        self._negotiator = negotiator

    @property
    def proposed_local(self) -> FrozenSDPSession | None:
        return self._negotiator.proposed_local

    @property
    def proposed_remote(self) -> FrozenSDPSession | None:
        return self._negotiator.proposed_remote

    @property
    def active_local(self) -> FrozenSDPSession | None:
        return self._negotiator.active_local

    @property
    def active_remote(self) -> FrozenSDPSession | None:
        return self._negotiator.active_remote
