"""What the settings mean for the Engine, and which of them concern whom."""

from __future__ import annotations

import os
from typing import Any, Final

from sipsimple.account import AccountManager
from sipsimple.configuration.settings import SIPSimpleSettings

ENGINE_SETTINGS: Final = {
    "user_agent",
    "sip.udp_port",
    "sip.tcp_port",
    "rtp.port_range",
    "rtp.audio_codec_list",
    "logs.pjsip_level",
}
TLS_SETTINGS: Final = {"sip.tls_port", "tls.protocol", "tls.ca_list", "tls.timeout", "default_account"}
VOICE_SETTINGS: Final = {"audio.input_device", "audio.output_device", "audio.tail_length", "audio.gain_control"}
ALERT_SETTINGS: Final = {"audio.alert_device", "audio.tail_length"}


def engine_options() -> dict[str, Any]:
    """The start options of the Engine, from the settings."""
    settings = SIPSimpleSettings()
    account: Any = AccountManager().default_account
    certificate = account.tls.certificate.normalized if account is not None and account.tls.certificate else None
    ports = {
        f"{transport}_port": int(getattr(settings.sip, f"{transport}_port"))
        if transport in settings.sip.transport_list
        else None
        for transport in ("udp", "tcp", "tls")
    }
    return {
        **ports,
        "local_ip": settings.local_ip,
        "user_agent": settings.user_agent,
        "ignore_missing_ack": False,
        "tls_protocol": settings.tls.protocol,
        "tls_verify_server": account.tls.verify_server if account is not None else False,
        "tls_ca_file": os.path.expanduser(settings.tls.ca_list) if settings.tls.ca_list else None,
        "tls_cert_file": certificate,
        "tls_privkey_file": certificate,
        "tls_timeout": int(settings.tls.timeout),
        "rtp_port_range": (int(settings.rtp.port_range.start), int(settings.rtp.port_range.end)),
        "codecs": list(settings.rtp.audio_codec_list),
        "log_level": int(settings.logs.pjsip_level),
        "trace_sip": True,
    }
