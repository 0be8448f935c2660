"""Audio codecs, each for all streams at once."""

from .codec import CODECS, SUPPORTED, Codec, codec

__all__ = ["CODECS", "SUPPORTED", "Codec", "codec"]
