"""Types of the audio and RTP settings."""

from __future__ import annotations

from typing import Final

from sipsimple.configuration.datatypes.basic import Choice, List

SYSTEM_DEFAULT: Final = "system_default"


class AudioCodec(Choice):
    """The name of an audio codec, as it stands in SDP."""

    __slots__ = ()

    values = ("opus", "speex", "G722", "PCMU", "PCMA", "iLBC", "GSM")


class AudioCodecList(List):
    """Audio codecs in the order of preference."""

    type = AudioCodec


class AudioInputDevice(str):
    """The name of a capture device; `system_default` follows the choice of the system."""

    __slots__ = ()


class AudioOutputDevice(str):
    """The name of a playback device; `system_default` follows the choice of the system."""

    __slots__ = ()


class SampleRate(int):
    """Samples per second."""

    __slots__ = ()


class SRTPEncryption(Choice):
    """Whether media is encrypted: never, when the remote can, or always."""

    __slots__ = ()

    values = ("disabled", "optional", "mandatory")


class DTMFDelivery(Choice):
    """How digits are sent: as telephone-events (RFC 4733), by INFO, as sound, or by the first that the remote takes.

    Sound gets through undamaged with the codecs PCMU and PCMA alone.
    """

    __slots__ = ()

    values = ("auto", "events", "info", "inband")


class SRTPKeying(Choice):
    """How the keys of encrypted media are agreed on: in the descriptions (RFC 4568), or by DTLS (RFC 5763)."""

    __slots__ = ()

    values = ("sdes", "dtls")
