"""Media streams: what a session carries, and the registry of the classes that can be proposed to it."""

from sipsimple.streams.interface import IMediaStream, InvalidStreamError, StreamError, UnknownStreamError
from sipsimple.streams.registry import MediaStreamRegistrar, MediaStreamRegistry
from sipsimple.streams.rtp import AudioStream

__all__ = [
    "AudioStream",
    "IMediaStream",
    "InvalidStreamError",
    "MediaStreamRegistrar",
    "MediaStreamRegistry",
    "StreamError",
    "UnknownStreamError",
]
