"""Audio codecs: those of all streams at once, and those with a coder for each stream."""

from .codec import BatchCodec, Codec, Decoder, Encoder, Parameters, StreamCodec
from .shelf import Shelf, read_parameters

__all__ = ["BatchCodec", "Codec", "Decoder", "Encoder", "Parameters", "Shelf", "StreamCodec", "read_parameters"]
