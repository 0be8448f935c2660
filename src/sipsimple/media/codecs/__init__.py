"""Audio codecs, each for all streams at once."""

from .codec import CODECS, Codec, codec

__all__ = ["CODECS", "Codec", "codec"]
