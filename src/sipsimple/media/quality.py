"""How good a call sounds, estimated from delay and loss (ITU-T G.107, the E-model with its defaults).

The rating R begins at 93.2 and is lowered by delay and by what codec and losses impair (G.107 7.4, 7.5); the mean
opinion score (MOS) from 1 to 4.5 follows from it (annex B). Impairments of codecs are those of G.113 appendix I where
it has any: G.711 with concealment of losses; the others are our own estimates, on the same narrow-band scale.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

BEST: Final = 93.2
FRAME_DELAY: Final = 20.0
"""Milliseconds until a packet is full."""
USUAL_BUFFER: Final = 40.0
"""Milliseconds that the remote is assumed to wait for late packets; no report tells."""
AUDIBLE_DELAY: Final = 177.3  # milliseconds; G.107, the simplified form of Id


class _Impairment(NamedTuple):
    equipment: float
    """Ie: what the codec costs without any loss."""
    robustness: float
    """Bpl: the loss in percent that halves what is left."""


_IMPAIRMENTS: Final = {
    "PCMU": _Impairment(0, 25.1),
    "PCMA": _Impairment(0, 25.1),
    "G722": _Impairment(0, 15),
    "OPUS": _Impairment(0, 20),
    "SPEEX": _Impairment(11, 15),
    "GSM": _Impairment(26, 10),
}
_UNKNOWN: Final = _Impairment(10, 10)


def rating(codec: str, delay_ms: float, loss: float) -> float:
    """The rating R, 0 to 93.2, of one direction: delay from mouth to ear in milliseconds, loss 0 to 1."""
    impairment = _IMPAIRMENTS.get(codec.upper(), _UNKNOWN)
    percent = 100 * min(max(loss, 0.0), 1.0)
    equipment = impairment.equipment
    equipment += (95 - equipment) * percent / (percent + impairment.robustness)
    delayed = 0.024 * delay_ms + 0.11 * max(delay_ms - AUDIBLE_DELAY, 0.0)
    return max(BEST - equipment - delayed, 0.0)


def opinion(rating: float) -> float:
    """The mean opinion score that belongs to a rating (G.107 annex B)."""
    if rating <= 0:
        return 1.0
    # Below a rating of 6.5 the polynomial falls under 1.
    return max(1 + 0.035 * rating + rating * (rating - 60) * (100 - rating) * 7e-6, 1.0)


def assess(codec: str, values: dict[str, Any], buffer_delay: float, *, is_reported: bool) -> None:
    """Add what is estimated to the statistics of a stream.

    `codec`; to `rx`: `buffer_delay` (microseconds until what arrived is played), `concealed` (which part, 0 to 1, did
    not arrive in time and had to be made up) and `mos`; to `tx`: `mos`, by what the remote reports if `is_reported`.
    A score is None as long as nothing is known of its direction.
    """
    received, sent = values["rx"], values["tx"]
    trip = values["rtt"]["last"] / 2000
    expected = received["packets"] - received["packets_duplicate"] + received["packets_lost"]
    missing = received["packets_lost"] + received["packets_discarded"] - received["packets_duplicate"]
    received["buffer_delay"] = int(buffer_delay * 1e6)
    received["concealed"] = min(max(missing / expected, 0.0), 1.0) if expected else 0.0
    delay = trip + FRAME_DELAY + buffer_delay * 1000
    received["mos"] = _score(codec, delay, received["concealed"]) if received["packets"] else None
    loss = sent["packets_lost"] / sent["packets"] if sent["packets"] else 0.0
    sent["mos"] = _score(codec, trip + FRAME_DELAY + USUAL_BUFFER, loss) if is_reported else None
    values["codec"] = codec


def _score(codec: str, delay_ms: float, loss: float) -> float:
    return round(opinion(rating(codec, delay_ms, loss)), 2)
