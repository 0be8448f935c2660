"""What a media stream is to a session: the `IMediaStream` interface, and the errors of stream classes."""

from __future__ import annotations

from zope.interface import Attribute, Interface


class StreamError(Exception):
    """The root of what stream classes raise."""


class InvalidStreamError(StreamError):
    """The media is of this class, and unacceptable: refuse it without asking other classes."""


class UnknownStreamError(StreamError):
    """The media is not of this class: ask the next one."""


class IMediaStream(Interface):  # type: ignore[misc]  # zope.interface ships no types
    """One media of a session.

    Life: `new_from_sdp` or the constructor, `initialize`, `get_local_media`, `start`, any number of updates and holds,
    `deactivate`, `end`. The session sets `index`, the position in the session description, before `get_local_media`.

    A stream posts `MediaStreamDidInitialize`, `MediaStreamDidStart`, `MediaStreamDidFail` (with `reason`),
    `MediaStreamWillEnd` and `MediaStreamDidEnd`.
    """

    type = Attribute("Class attribute: a name such as 'audio'")
    priority = Attribute("Class attribute: higher is asked first, None is never asked")

    hold_supported = Attribute("True if the stream can be put on hold")
    on_hold_by_local = Attribute("True if the local party put it on hold")
    on_hold_by_remote = Attribute("True if the remote party put it on hold")
    on_hold = Attribute("on_hold_by_local or on_hold_by_remote")

    def new_from_sdp(account, remote_sdp, stream_index):  # type: ignore[no-untyped-def]
        """Class method: a stream for the media at `stream_index` of the offer, or None to ask the next class."""

    def get_local_media(for_offer):  # type: ignore[no-untyped-def]
        """The SDPMediaStream of an offer or of an answer."""

    def initialize(session, direction):  # type: ignore[no-untyped-def]
        """Prepare; "incoming" when the remote proposed the stream, else "outgoing".

        `MediaStreamDidInitialize` or `MediaStreamDidFail` follows.
        """

    def start(local_sdp, remote_sdp, stream_index):  # type: ignore[no-untyped-def]
        """Send and receive as negotiated; `MediaStreamDidStart` or `MediaStreamDidFail` follows."""

    def validate_update(remote_sdp, stream_index):  # type: ignore[no-untyped-def]
        """True when a re-INVITE's change of the media is acceptable; changes nothing."""

    def update(local_sdp, remote_sdp, stream_index):  # type: ignore[no-untyped-def]
        """Go on as negotiated anew."""

    def hold():  # type: ignore[misc, no-untyped-def]
        """Stop sending and receiving at once; later descriptions say so."""

    def unhold():  # type: ignore[misc, no-untyped-def]
        """Undo `hold`."""

    def deactivate():  # type: ignore[misc, no-untyped-def]
        """Expect the end: from now on it is no failure when the remote closes the transport."""

    def end():  # type: ignore[misc, no-untyped-def]
        """Close; `MediaStreamWillEnd` and `MediaStreamDidEnd` follow. Called whenever `initialize` was called."""
