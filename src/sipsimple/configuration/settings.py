"""The settings that belong to no account."""

from __future__ import annotations

from typing import Final

from sipsimple import __version__
from sipsimple.configuration.datatypes import (
    AudioCodecList,
    AudioInputDevice,
    AudioOutputDevice,
    Hostname,
    MSRPTransport,
    NonNegativeInteger,
    Path,
    Port,
    PortRange,
    SampleRate,
    SIPTransportList,
    TLSProtocol,
)
from sipsimple.configuration.groups import SettingsGroup, group
from sipsimple.configuration.objects import SettingsObject
from sipsimple.configuration.setting import Setting

DEFAULT_CODECS: Final = ("opus", "G722", "PCMU", "PCMA")


class AudioSettings(SettingsGroup):
    """Devices and mixers. A device that is None is a silent dummy."""

    alert_device = Setting(type=AudioOutputDevice, default="system_default", nillable=True)
    input_device = Setting(type=AudioInputDevice, default="system_default", nillable=True)
    output_device = Setting(type=AudioOutputDevice, default="system_default", nillable=True)
    # Milliseconds; 0 disables the echo canceller.
    tail_length = Setting(type=NonNegativeInteger, default=200)
    # Whether the echo canceller also brings the microphone to an even loudness.
    gain_control = Setting(type=bool, default=False)
    sample_rate = Setting(type=SampleRate, default=16000)
    silent = Setting(type=bool, default=False)
    # Where recordings go.
    directory = Setting(type=Path, default=Path("~/.sipsimple/history"))


class ChatSettings(SettingsGroup):
    """For extensions."""


class DesktopSharingSettings(SettingsGroup):
    """For extensions."""


class FileTransferSettings(SettingsGroup):
    """For extensions."""


class LogsSettings(SettingsGroup):
    """What is logged."""

    # The level of the core; the name is that of its predecessor.
    pjsip_level = Setting(type=NonNegativeInteger, default=5)


class MSRPSettings(SettingsGroup):
    """What MSRP runs over, for streams of accounts without a fixed relay."""

    transport = Setting(type=MSRPTransport, default="tls")


class RTPSettings(SettingsGroup):
    """Ports, codecs and the watch over silent streams."""

    port_range = Setting(type=PortRange, default=PortRange(50000, 50400))
    # Seconds without media after which, and between which, it is reported.
    timeout = Setting(type=NonNegativeInteger, default=30)
    audio_codec_list = Setting(type=AudioCodecList, default=AudioCodecList(DEFAULT_CODECS))


class SIPSettings(SettingsGroup):
    """Where SIP listens. Port 0 is any free one."""

    # Seconds that an outgoing session may ring; None: until one side gives up.
    invite_timeout = Setting(type=NonNegativeInteger, default=180, nillable=True)
    udp_port = Setting(type=Port, default=0)
    tcp_port = Setting(type=Port, default=0)
    tls_port = Setting(type=Port, default=0)
    transport_list = Setting(type=SIPTransportList, default=SIPTransportList(("tls", "tcp", "udp")))


class TLSSettings(SettingsGroup):
    """TLS for SIP and MSRP."""

    ca_list = Setting(type=Path, default=None, nillable=True)
    protocol = Setting(type=TLSProtocol, default="TLSv1")
    # Milliseconds for the handshake.
    timeout = Setting(type=NonNegativeInteger, default=1000)


class SIPSimpleSettings(SettingsObject):
    """The settings of the middleware as a whole."""

    __id__ = "SIPSimpleSettings"

    default_account = Setting(type=str, default="bonjour@local", nillable=True)
    user_agent = Setting(type=str, default=f"sipsimple {__version__}")
    # The URN of this installation (RFC 5626 4.1); made at the first start.
    instance_id = Setting(type=str, default=None, nillable=True)
    # None: the address of the interface that has the default route.
    local_ip = Setting(type=Hostname, default=None, nillable=True)

    audio = group(AudioSettings)
    chat = group(ChatSettings)
    desktop_sharing = group(DesktopSharingSettings)
    file_transfer = group(FileTransferSettings)
    logs = group(LogsSettings)
    msrp = group(MSRPSettings)
    rtp = group(RTPSettings)
    sip = group(SIPSettings)
    tls = group(TLSSettings)
