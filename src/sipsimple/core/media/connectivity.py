"""What the descriptions of one transport say of ICE, and what comes of it (RFC 8445, RFC 8839).

The media engine gathers and checks; here is whether the other side takes part, who nominates, and where media goes.
What was agreed on stays until the remote begins anew with other credentials, or speaks of ICE no more. A remote without
ICE has plain RTP, to where its description says.

Deviation: no offer follows when the nominated pair is not the default one (RFC 8839 4.4.1.1.2); nobody that speaks
ICE needs it.
"""

from __future__ import annotations

import secrets
from typing import Any, Final, NamedTuple

from sipsimple.media.ice.values import Candidate, Credentials, ICEOutcome, RemoteICE
from sipsimple.sip.sdp import FrozenSDPAttribute
from sipsimple.sip.sdp.ice import ICECandidate, ICEDescription

_OURS: Final = ("ice-ufrag", "ice-pwd", "candidate", "ice-mismatch", "ice-lite", "remote-candidates")
_DIRECTIONS: Final = ("sendrecv", "sendonly", "recvonly", "inactive")

NO_REMOTE_ICE: Final = "the remote does not use ICE"
MISMATCH: Final = "what is between us and the remote has changed its description: it is not reached where it says"


class Place(NamedTuple):
    """Where a component of the remote is reached."""

    address: str
    port: int


class Negotiation(NamedTuple):
    """What is to be checked."""

    credentials: Credentials
    remote: RemoteICE
    controlling: bool


class Connectivity:
    """The ICE of one transport: nothing but lines and outcomes; what has to be done is for the transport to do."""

    def __init__(self) -> None:
        self.credentials: Credentials | None = None
        self.candidates: tuple[Candidate, ...] = ()
        self.offers = False
        """Whether ours was the first offer, so that we nominate (RFC 8445 6.1.1)."""
        self.remote: ICEDescription | None = None
        self.outcome: ICEOutcome | None = None
        self.checking = False

    @property
    def gathered(self) -> bool:
        """Whether we take part."""
        return bool(self.candidates)

    @property
    def active(self) -> bool:
        """Whether media goes where ICE found that it can."""
        return self.outcome is not None

    @property
    def reflexive(self) -> Candidate | None:
        """How the STUN server saw our RTP port; None when there is no address translator, or nobody was asked."""
        return self._first("srflx", 1)

    def _first(self, kind: str, component: int) -> Candidate | None:
        return next((it for it in self.candidates if it.type == kind and it.component == component), None)

    def default(self, component: int) -> Candidate | None:
        """The candidate for those that know no ICE: the one that is seen from outside, else our own address."""
        return self._first("srflx", component) or self._first("host", component)

    def new_credentials(self) -> Credentials:
        """Choose what the checks have to show; random as RFC 8839 5.4 wants it."""
        self.credentials = Credentials(secrets.token_hex(4), secrets.token_hex(12))
        return self.credentials

    def drop(self) -> None:
        """Do without ICE from now on."""
        self.credentials, self.candidates = None, ()
        self.remote = self.outcome = None
        self.checking = False

    # --- what our descriptions say

    def offer(self, media: Any) -> None:
        """Complete a media of ours that offers."""
        _write(media, self._lines(mux=False) if self.gathered else [])

    def answer(self, media: Any, offer: Any, index: int, *, mux: bool) -> None:
        """Complete a media of ours that answers; with other credentials when the offer begins anew."""
        theirs = ICEDescription.of(offer, index) if self.gathered else None
        if theirs is None:
            _write(media, [])
            return
        if theirs.mismatch:
            _write(media, [("ice-mismatch", "")])
            return
        if self._begins_anew(theirs):
            self.new_credentials()
            self.offers = False
        _write(media, self._lines(mux=mux))

    def _begins_anew(self, theirs: ICEDescription) -> bool:
        known = self.remote
        return known is not None and (known.username, known.password) != (theirs.username, theirs.password)

    def _lines(self, *, mux: bool) -> list[tuple[str, str]]:
        assert self.credentials is not None  # there are none without candidates
        lines = [("ice-ufrag", self.credentials.username), ("ice-pwd", self.credentials.password)]
        return lines + [("candidate", str(_line(it))) for it in self.candidates if it.component == 1 or not mux]

    # --- what both descriptions agree on

    def agree(self, local: Any, remote: Any, index: int) -> Negotiation | str | None:
        """What has to be checked, why nothing can be, or None when nothing has changed.

        Whatever worked before goes on while a new beginning is checked.
        """
        if not self.gathered or self.credentials is None:
            return None
        theirs = ICEDescription.of(remote, index)
        if theirs is None or theirs.mismatch or "ice-ufrag" not in local.media[index].attributes:
            refusal = MISMATCH if _is_mismatch(remote, index, theirs) else NO_REMOTE_ICE
            self.drop()
            return refusal
        if self.remote is not None and not self._begins_anew(theirs):
            return None
        self.remote, self.checking = theirs, True
        credentials = Credentials(theirs.username, theirs.password)
        candidates = tuple(_candidate(it) for it in theirs.candidates)
        return Negotiation(self.credentials, RemoteICE(credentials, candidates), self.offers or theirs.lite)

    def settle(self, outcome: ICEOutcome | None) -> None:
        """Take over what the checks have found; None: nothing works."""
        self.checking = False
        self.outcome = outcome

    def place(self, component: int) -> Place | None:
        """Where the engine sends this component; None when ICE does not say."""
        found = self._pair(component)
        return None if found is None else Place(found.address, found.port)

    def chosen(self, component: int) -> tuple[Candidate, Candidate] | None:
        """The candidates that were agreed on, ours first."""
        found = self._pair(component)
        return None if found is None else (found.local, found.remote)

    def _pair(self, component: int) -> Any:
        pairs = self.outcome.pairs if self.outcome is not None else ()
        return next((pair for pair in pairs if pair.local.component == component), None)

    def report(self, outcome: ICEOutcome, seconds: float) -> dict[str, Any]:
        """What `RTPTransportICENegotiationDidSucceed` tells of checks that took so long."""
        theirs = tuple(_candidate(it) for it in self.remote.candidates) if self.remote is not None else ()
        rtp, rtcp = outcome.pairs[0], outcome.pairs[-1]
        return {
            "duration": _duration(seconds),
            "chosen_local_candidates": _chosen(rtp.local, rtcp.local),
            "chosen_remote_candidates": _chosen(rtp.remote, rtcp.remote),
            "local_candidates": _listed(self.candidates),
            "remote_candidates": _listed(theirs),
            "connectivity_checks_results": [
                [
                    index,
                    check.component,
                    check.source,
                    check.destination,
                    "nominated" if check.nominated else "not_nominated",
                    check.state,
                ]
                for index, check in enumerate(outcome.checks)
            ],
        }


def _duration(seconds: float) -> str:
    """As in `1s:234`."""
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    return f"{whole}s:{milliseconds:03d}"


def _is_mismatch(remote: Any, index: int, theirs: ICEDescription | None) -> bool:
    return "ice-mismatch" in remote.media[index].attributes or (theirs is not None and theirs.mismatch)


def _listed(candidates: tuple[Candidate, ...]) -> list[list[Any]]:
    return [[index, it.component, _text(it), it.type] for index, it in enumerate(candidates)]


def _chosen(rtp: Candidate, rtcp: Candidate) -> dict[str, str]:
    return {
        "rtp_cand_type": rtp.type,
        "rtp_cand_ip": _text(rtp),
        "rtcp_cand_type": rtcp.type,
        "rtcp_cand_ip": _text(rtcp),
    }


def _text(candidate: Candidate) -> str:
    return f"{candidate.address}:{candidate.port}"


def _line(it: Candidate) -> ICECandidate:
    return ICECandidate(
        it.foundation, it.component, it.priority, it.address, it.port, it.type, it.related_address, it.related_port
    )


def _candidate(it: ICECandidate) -> Candidate:
    return Candidate(
        it.foundation, it.component, it.priority, it.address, it.port, it.type, it.related_address, it.related_port
    )


def _write(media: Any, lines: list[tuple[str, str]]) -> None:
    """Put the lines before the direction, which comes last; those from before are gone."""
    kept = [attribute for attribute in media.attributes if attribute.name not in _OURS]
    end = len(kept) - 1 if kept and kept[-1].name in _DIRECTIONS else len(kept)
    media.attributes = [*kept[:end], *(FrozenSDPAttribute(name, value) for name, value in lines), *kept[end:]]
