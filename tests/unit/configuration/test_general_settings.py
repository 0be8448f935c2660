from __future__ import annotations

import subprocess
import sys

import sipsimple
from sipsimple.configuration.datatypes import PortRange
from sipsimple.configuration.settings import SIPSimpleSettings


def test_the_defaults(backend):
    settings = SIPSimpleSettings()
    assert settings.default_account == "bonjour@local"
    assert settings.user_agent == f"sipsimple {sipsimple.__version__}"
    assert settings.local_ip is None
    audio = settings.audio
    assert audio.alert_device == audio.input_device == audio.output_device == "system_default"
    assert (audio.tail_length, audio.sample_rate, audio.silent) == (200, 16000, False)
    assert audio.directory.normalized.endswith("/.sipsimple/history")
    assert settings.logs.pjsip_level == 5
    assert settings.msrp.transport == "tls"
    assert settings.rtp.port_range == PortRange(50000, 50400)
    assert settings.rtp.timeout == 30
    assert settings.rtp.audio_codec_list == ["opus", "G722", "PCMU", "PCMA"]
    assert settings.sip.invite_timeout == 180
    assert settings.sip.udp_port == settings.sip.tcp_port == settings.sip.tls_port == 0
    assert settings.sip.transport_list == ["tls", "tcp", "udp"]
    assert settings.tls.ca_list is None
    assert (settings.tls.protocol, settings.tls.timeout) == ("TLSv1", 1000)
    for name in ("chat", "desktop_sharing", "file_transfer"):
        assert getattr(settings, name) is not None


def test_what_may_be_none(backend):
    settings = SIPSimpleSettings()
    settings.default_account = None
    settings.local_ip = "192.0.2.1"
    settings.local_ip = None
    settings.audio.alert_device = settings.audio.input_device = settings.audio.output_device = None
    settings.sip.invite_timeout = None
    settings.tls.ca_list = None
    settings.save()
    assert backend.data["SIPSimpleSettings"]["sip"] == {"invite_timeout": None}


def test_the_settings_are_light_to_import():
    program = "import sys, sipsimple.configuration.settings; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert not {"numpy", "dns", "cryptography", "platformdirs", "rich"} & set(modules.stdout.split())
