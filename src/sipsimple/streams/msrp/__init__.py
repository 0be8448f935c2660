"""Media streams over MSRP (RFC 4975)."""

from sipsimple.streams.msrp.base import MSRPStreamBase
from sipsimple.streams.msrp.chat import ChatStream, ChatStreamError
from sipsimple.streams.msrp.connecting import MSRPStreamError
from sipsimple.streams.msrp.desktopsharing import DesktopSharingStream
from sipsimple.streams.msrp.fileselector import FileSelector
from sipsimple.streams.msrp.filetransfer import FileTransferStream
from sipsimple.streams.msrp.transport import MSRPTransport
from sipsimple.streams.msrp.vnc_handlers import (
    DesktopSharingHandlerBase,
    ExternalVNCServerHandler,
    ExternalVNCViewerHandler,
    IDesktopSharingHandler,
    InternalVNCServerHandler,
    InternalVNCViewerHandler,
)

__all__ = [
    "ChatStream",
    "ChatStreamError",
    "DesktopSharingHandlerBase",
    "DesktopSharingStream",
    "ExternalVNCServerHandler",
    "ExternalVNCViewerHandler",
    "FileSelector",
    "FileTransferStream",
    "IDesktopSharingHandler",
    "InternalVNCServerHandler",
    "InternalVNCViewerHandler",
    "MSRPStreamBase",
    "MSRPStreamError",
    "MSRPTransport",
]
