"""The session descriptions of a dialog, as applications see them."""

from __future__ import annotations

from sipsimple.core.composing import SDP_TYPE, response_to, token
from sipsimple.sip.headers import FrozenHeader
from sipsimple.sip.message import Request, Response
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


def refuse_foreign(request: Request) -> Response | None:
    """The 415 to a request whose body is no session description; None for one that is, and without a body."""
    media_type, _ = request.content_type or ("", {})
    encoding = request.headers.get("Content-Encoding")
    plain = encoding is None or encoding.strip().lower() in ("", "identity")
    if not request.body or (media_type.lower() == SDP_TYPE and plain):
        return None
    extra = [FrozenHeader("Accept", SDP_TYPE), FrozenHeader("Accept-Encoding", "identity")]
    return response_to(request, 415, to_tag=token(), extra=extra)
