"""The options of the engine: their defaults, their limits, and the attributes and methods that change them."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from sipsimple import __version__
from sipsimple.core.media import MediaClient
from sipsimple.core.media.formats import FORMATS
from sipsimple.core.notices import post
from sipsimple.core.stack import stack
from sipsimple.sip.endpoint import Endpoint
from sipsimple.sip.errors import SIPCoreError

TLS_PROTOCOLS: Final = (None, "TLSv1", "SSLv2", "SSLv3", "SSLv23")
_NEVER_HANDED_ON: Final = frozenset({"ACK", "BYE", "INVITE", "SUBSCRIBE"})

_EVENTS: Final = {
    "presence": ["application/pidf+xml"],
    "message-summary": ["application/simple-message-summary"],
    "presence.winfo": ["application/watcherinfo+xml"],
    "xcap-diff": ["application/xcap-diff+xml"],
}


class EngineOptions:
    """What of the engine is set by options; `start` fills them, the attributes read and change them."""

    default_start_options: ClassVar[dict[str, Any]] = {
        "udp_port": 0,
        "tcp_port": None,
        "tls_port": None,
        "tls_protocol": "TLSv1",
        "tls_verify_server": False,
        "tls_ca_file": None,
        "tls_cert_file": None,
        "tls_privkey_file": None,
        "tls_timeout": 1000,
        "local_ip": None,
        "user_agent": f"sipsimple {__version__}",
        "log_level": 5,
        "trace_sip": False,
        "ignore_missing_ack": False,
        "rtp_port_range": (40000, 40100),
        "codecs": ["opus", "G722", "PCMU", "PCMA"],
        "events": _EVENTS,
        "incoming_events": frozenset(),
        "incoming_requests": frozenset(),
    }

    def __init__(self) -> None:
        self._options: dict[str, Any] = {}

    @property
    def endpoint(self) -> Endpoint:
        """The transports and transactions; raises SIPCoreError while the engine does not run."""
        return stack().endpoint

    def _trace(
        self, received: bool, transport: str, source: tuple[str, int], destination: tuple[str, int], data: bytes
    ) -> None:
        post(
            "SIPEngineSIPTrace",
            self,
            received=received,
            source_ip=source[0],
            source_port=source[1],
            destination_ip=destination[0],
            destination_port=destination[1],
            data=data.decode("utf-8", "replace"),
            transport=transport,
        )

    tls_protocol = property(lambda self: self._option("tls_protocol"))
    tls_verify_server = property(lambda self: self._option("tls_verify_server"))
    tls_ca_file = property(lambda self: self._option("tls_ca_file"))
    tls_cert_file = property(lambda self: self._option("tls_cert_file"))
    tls_privkey_file = property(lambda self: self._option("tls_privkey_file"))
    tls_timeout = property(lambda self: self._option("tls_timeout"))
    events = property(lambda self: {name: list(types) for name, types in self._option("events").items()})
    incoming_events = property(lambda self: set(self._option("incoming_events")))
    incoming_requests = property(lambda self: set(self._option("incoming_requests")))

    def _option(self, name: str) -> Any:
        self.endpoint  # noqa: B018 - raises while the engine does not run
        return self._options[name]

    @property
    def trace_sip(self) -> bool:
        """Whether every SIP packet is told by `SIPEngineSIPTrace`."""
        return bool(self._option("trace_sip"))

    @trace_sip.setter
    def trace_sip(self, value: bool) -> None:
        self.endpoint.on_trace = self._trace if value else None
        self._options["trace_sip"] = bool(value)

    @property
    def ignore_missing_ack(self) -> bool:
        """Whether a call goes on whose 2xx was never acknowledged."""
        return stack().ignore_missing_ack

    @ignore_missing_ack.setter
    def ignore_missing_ack(self, value: bool) -> None:
        stack().ignore_missing_ack = bool(value)

    @property
    def log_level(self) -> int:
        """From 0 (nothing) to 6 (everything)."""
        return int(self._option("log_level"))

    @log_level.setter
    def log_level(self, value: int) -> None:
        check_options({**self._options, "log_level": value})
        self._options["log_level"] = value

    @property
    def user_agent(self) -> str:
        """The User-Agent of our requests, the Server of our responses."""
        return str(self._option("user_agent"))

    @user_agent.setter
    def user_agent(self, value: str) -> None:
        self.endpoint.user_agent = str(value)
        self._options["user_agent"] = str(value)

    @property
    def rtp_port_range(self) -> tuple[int, int]:
        """The ports that RTP and RTCP are taken from."""
        first, last = self._option("rtp_port_range")
        return (first, last)

    @rtp_port_range.setter
    def rtp_port_range(self, value: tuple[int, int]) -> None:
        check_options({**self._options, "rtp_port_range": value})
        self._options["rtp_port_range"] = MediaClient().port_range = (int(value[0]), int(value[1]))

    @property
    def codecs(self) -> list[str]:
        """The enabled codecs in order of preference."""
        return list(self._option("codecs"))

    @codecs.setter
    def codecs(self, value: list[str]) -> None:
        if len(set(value)) != len(value):
            raise ValueError(f"a codec is named twice: {', '.join(value)}")
        check_options({**self._options, "codecs": value})
        self._options["codecs"] = MediaClient().codecs = list(value)

    @property
    def available_codecs(self) -> list[str]:
        """The codecs that can be offered here."""
        return MediaClient().available_codecs

    @property
    def input_devices(self) -> list[str]:
        """The names of the capture devices, the default one first."""
        return list(MediaClient().devices().inputs)

    @property
    def output_devices(self) -> list[str]:
        """The names of the playback devices, the default one first."""
        return list(MediaClient().devices().outputs)

    @property
    def sound_devices(self) -> list[str]:
        """The names of all sound devices."""
        devices = MediaClient().devices()
        return list(dict.fromkeys([*devices.inputs, *devices.outputs]))

    def add_event(self, event: str, accept_types: list[str]) -> None:
        """Make an event package known, with the MIME types that its NOTIFY may have."""
        if not accept_types:
            raise SIPCoreError(f"the event package {event!r} needs at least one MIME type")
        self._options["events"] = {**self._option("events"), event: list(accept_types)}

    def add_incoming_event(self, event: str) -> None:
        """Hand SUBSCRIBE requests for this event to the application."""
        self._known_event(event)
        self._options["incoming_events"] = self._option("incoming_events") | {event}

    def remove_incoming_event(self, event: str) -> None:
        self._known_event(event)
        self._options["incoming_events"] = self._option("incoming_events") - {event}

    def _known_event(self, event: str) -> None:
        if event not in self._option("events"):
            raise ValueError(f"the event package {event!r} is unknown: add_event() comes first")

    def add_incoming_request(self, method: str) -> None:
        """Hand requests of this method to the application, as `IncomingRequest`."""
        self._options["incoming_requests"] = self._option("incoming_requests") | {_handed_on(method)}

    def remove_incoming_request(self, method: str) -> None:
        self._options["incoming_requests"] = self._option("incoming_requests") - {_handed_on(method)}


def check_options(options: dict[str, Any]) -> None:
    """Refuse options that make no sense: raises ValueError or SIPCoreError."""
    for name in ("udp_port", "tcp_port", "tls_port"):
        port = options[name]
        if port is not None and not 0 <= port <= 65535:
            raise ValueError(f"{name} is from 0 to 65535, not {port}")
    if options["tls_protocol"] not in TLS_PROTOCOLS:
        raise ValueError(f"tls_protocol is one of {TLS_PROTOCOLS}, not {options['tls_protocol']!r}")
    if options["tls_timeout"] < 0:
        raise ValueError(f"tls_timeout is not negative: {options['tls_timeout']}")
    if not 0 <= options["log_level"] <= 6:
        raise ValueError(f"log_level is from 0 to 6, not {options['log_level']}")
    first, last = options["rtp_port_range"]
    if not 0 <= first < last <= 65535:
        raise SIPCoreError(f"rtp_port_range is two ports, the second larger than the first, not {first}-{last}")
    known = {format.name.lower() for format in FORMATS}
    unknown = [name for name in options["codecs"] if name.lower() not in known]
    if unknown:
        raise SIPCoreError(f"unknown codecs: {', '.join(unknown)}")


def _handed_on(method: str) -> str:
    name = method.upper()
    if name in _NEVER_HANDED_ON:
        raise ValueError(f"{name} is answered by the core itself")
    return name
