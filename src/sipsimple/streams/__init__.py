"""Media streams: what a session carries, and the registry of the classes that can be proposed to it.

Those over MSRP are loaded when they are first needed: who only telephones does not wait for them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sipsimple.streams.interface import IMediaStream, InvalidStreamError, StreamError, UnknownStreamError
from sipsimple.streams.registry import MediaStreamRegistrar, MediaStreamRegistry
from sipsimple.streams.rtp import AudioStream

if TYPE_CHECKING:
    from sipsimple.streams.msrp import (
        ChatStream,
        ChatStreamError,
        DesktopSharingHandlerBase,
        DesktopSharingStream,
        ExternalVNCServerHandler,
        ExternalVNCViewerHandler,
        FileSelector,
        FileTransferStream,
        IDesktopSharingHandler,
        InternalVNCServerHandler,
        InternalVNCViewerHandler,
        MSRPStreamError,
    )

__all__ = [
    "AudioStream",
    "ChatStream",
    "ChatStreamError",
    "DesktopSharingHandlerBase",
    "DesktopSharingStream",
    "ExternalVNCServerHandler",
    "ExternalVNCViewerHandler",
    "FileSelector",
    "FileTransferStream",
    "IDesktopSharingHandler",
    "IMediaStream",
    "InternalVNCServerHandler",
    "InternalVNCViewerHandler",
    "InvalidStreamError",
    "MSRPStreamError",
    "MediaStreamRegistrar",
    "MediaStreamRegistry",
    "StreamError",
    "UnknownStreamError",
]

_MSRP = "sipsimple.streams.msrp"
MediaStreamRegistry().announce(_MSRP, "message", "application")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MSRP), name)
