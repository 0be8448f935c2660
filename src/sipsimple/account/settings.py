"""The groups of settings that accounts have."""

from __future__ import annotations

from sipsimple.configuration import Setting, SettingAlias, SettingsGroup
from sipsimple.configuration.datatypes import (
    AudioCodecList,
    DTMFDelivery,
    MSRPRelayAddress,
    MSRPTransport,
    NonNegativeInteger,
    Path,
    SIPProxyAddress,
    SIPTransportList,
    SRTPEncryption,
    SRTPKeying,
    STUNServerAddress,
    STUNServerAddressList,
    XCAPRoot,
)


class RegistrationSettings(SettingsGroup):
    """Whether the account keeps itself registered."""

    enabled = Setting(type=bool, default=True)


class SIPSettings(SettingsGroup):
    """How requests leave; intervals are in seconds."""

    # None: wherever the DNS says for the domain of the account.
    outbound_proxy = Setting(type=SIPProxyAddress, default=None, nillable=True)
    register = SettingAlias(RegistrationSettings.enabled, "registration.enabled")
    register_interval = Setting(type=NonNegativeInteger, default=600)
    subscribe_interval = Setting(type=NonNegativeInteger, default=600)
    publish_interval = Setting(type=NonNegativeInteger, default=600)


class RTPSettings(SettingsGroup):
    """Codecs and encryption of media."""

    # None: the list of SIPSimpleSettings.
    audio_codec_list = Setting(type=AudioCodecList, default=None, nillable=True)
    # How digits go: events (RFC 4733), info, inband (as sound), or auto, the first of these that the remote takes.
    dtmf_delivery = Setting(type=DTMFDelivery, default="auto")
    srtp_encryption = Setting(type=SRTPEncryption, default="optional")
    # How keys are agreed on in what we offer; either is accepted from others.
    srtp_keying = Setting(type=SRTPKeying, default="sdes")
    # Whether keys may go over signalling that others can read.
    use_srtp_without_tls = Setting(type=bool, default=False)


class DialogEventSettings(SettingsGroup):
    """The state of our dialogs, for others to see."""

    enabled = Setting(type=bool, default=True)


class NatTraversalSettings(SettingsGroup):
    """What helps media through address translators. None is what the DNS says for the domain of the account."""

    use_ice = Setting(type=bool, default=False)
    stun_server_list = Setting(type=STUNServerAddressList, default=None, nillable=True)
    # Relays media where ICE finds no other way; None is no relay. The name and the password are those of the server,
    # None is what the account has for SIP.
    turn_server = Setting(type=STUNServerAddress, default=None, nillable=True)
    turn_username = Setting(type=str, default=None, nillable=True)
    turn_password = Setting(type=str, default=None, nillable=True)
    msrp_relay = Setting(type=MSRPRelayAddress, default=None, nillable=True)
    use_msrp_relay_for_inbound = Setting(type=bool, default=True)
    use_msrp_relay_for_outbound = Setting(type=bool, default=False)


class MessageSummarySettings(SettingsGroup):
    """The notice of waiting voice mail."""

    enabled = Setting(type=bool, default=True)
    voicemail_uri = Setting(type=str, default=None, nillable=True)


class PresenceSettings(SettingsGroup):
    """Our state for others, and theirs for us."""

    enabled = Setting(type=bool, default=True)
    use_rls = Setting(type=bool, default=True)


class XCAPSettings(SettingsGroup):
    """Documents kept on a server."""

    enabled = Setting(type=bool, default=True)
    xcap_root = Setting(type=XCAPRoot, default=None, nillable=True)
    use_xcap_diff = Setting(type=bool, default=True)


class TLSSettings(SettingsGroup):
    """TLS of SIP and MSRP. The certificate file also holds the private key."""

    certificate = Setting(type=Path, default=None, nillable=True)
    verify_server = Setting(type=bool, default=True)


class PSTNSettings(SettingsGroup):
    """For extensions."""


class BonjourSIPSettings(SettingsGroup):
    """Where the account without a server is reached by SIP."""

    transport_list = Setting(type=SIPTransportList, default=SIPTransportList(("udp",)))


class BonjourMSRPSettings(SettingsGroup):
    """Where the account without a server is reached by MSRP."""

    transport = Setting(type=MSRPTransport, default="tcp")
