"""The codecs of one engine, made when a stream first needs them."""

from __future__ import annotations

from typing import Final

from ..errors import CodecUnavailable
from ..libraries import why_missing
from ..stream import StreamConfig
from .codec import Codec, Parameters
from .g711 import PCMA, PCMU

MAX_PARAMETERS: Final = 32


class Shelf:
    """Finds the codec for a stream; streams that are coded alike share one."""

    def __init__(self) -> None:
        self._codecs: Final[dict[tuple[str, int], Codec]] = {}

    def find(self, config: StreamConfig) -> Codec:
        """The codec that the configuration names, in any case; raises `CodecUnavailable`."""
        name = config.codec.lower()
        rate = {"opus": config.mixer_rate, "speex": config.clock_rate or 8000}.get(name, 0)
        found = self._codecs.get((name, rate))
        if found is None:
            found = self._codecs[name, rate] = _make(name, rate)
        return found


def _make(name: str, rate: int) -> Codec:
    match name:
        case "pcmu":
            return PCMU
        case "pcma":
            return PCMA
        case "opus":
            from .opus import opus

            return opus(rate)
        case "g722":
            from .g722 import g722

            return g722()
        case "speex":
            from .speex import speex

            return speex(rate)
        case "gsm":
            from .gsm import gsm

            return gsm()
    raise CodecUnavailable(name, why_missing(name) or "it cannot be encoded")


def read_parameters(text: str) -> Parameters:
    """Read what the remote said of a format (`fmtp`, RFC 4566 6): `name=value` parted by semicolons."""
    parts = (part.strip().partition("=") for part in text.split(";", MAX_PARAMETERS)[:MAX_PARAMETERS])
    return {name.strip().lower(): value.strip() for name, _, value in parts if name}
