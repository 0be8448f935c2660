"""The SIP engine: owns the transports, posts what they tell, and knows the media engine's settings.

An asyncio service. `await Engine().start(...)` runs it in the caller's loop; `Engine().start(...)` where no loop runs
gives it a loop in a thread of its own, and blocks until it is ready.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any, ClassVar, Final

from sipsimple import __version__
from sipsimple.core.media import MediaClient
from sipsimple.core.notices import post
from sipsimple.core.router import Router
from sipsimple.core.stack import Stack, set_stack, stack
from sipsimple.loop import LoopThread, Result, TaskOwner, bind_loop, bound_loop, run_in_loop
from sipsimple.singleton import Singleton
from sipsimple.sip.endpoint import Endpoint
from sipsimple.sip.errors import PJSIPError, SIPCoreError
from sipsimple.sip.transport import ListenError, TransportName
from sipsimple.sip.uri import SIPURI, FrozenSIPURI

CORE_REVISION: Final = 88

TLS_PROTOCOLS: Final = (None, "TLSv1", "SSLv2", "SSLv3", "SSLv23")
_NEVER_HANDED_ON: Final = frozenset({"ACK", "BYE", "INVITE", "SUBSCRIBE"})

_EVENTS: Final = {
    "presence": ["application/pidf+xml"],
    "message-summary": ["application/simple-message-summary"],
    "presence.winfo": ["application/watcherinfo+xml"],
    "xcap-diff": ["application/xcap-diff+xml"],
}


class Engine(metaclass=Singleton):
    """The SIP engine of the process; see the notifications `SIPEngine...`."""

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
        self._running = False
        self._claimed = False
        self._options: dict[str, Any] = {}
        self._stack: Stack | None = None
        self._tasks = TaskOwner("engine")
        self._thread: LoopThread | None = None
        self._address: str | None = None

    # Life

    def start(self, **options: Any) -> Result[Engine]:
        """Open the transports; see `default_start_options`, of which `local_ip` is the address to listen on.

        The result is the engine once `SIPEngineDidStart` was posted. Where no event loop runs this blocks and raises
        what went wrong. Raises SIPCoreError when the engine runs already.
        """
        if self._claimed:
            raise SIPCoreError("the engine runs already")
        unknown = set(options) - set(self.default_start_options)
        if unknown:
            raise TypeError(f"unknown options: {', '.join(sorted(unknown))}")
        chosen = {**self.default_start_options, **options}
        _check(chosen)
        self._claimed = True
        result: Result[Engine] = Result()
        blocking = self._enter_loop()
        run_in_loop(self._spawn, self._start(chosen), result)
        if blocking:
            result.wait()
        return result

    def stop(self) -> Result[Engine]:
        """Close everything; returns at once, and the result is settled after `SIPEngineDidEnd`."""
        result: Result[Engine] = Result()
        if not self._running:
            result.set_result(self)
            return result
        self._running = False
        run_in_loop(self._spawn, self._stop(), result)
        return result

    def _enter_loop(self) -> bool:
        """Make sure that a loop runs us; True when the caller has to wait, having none of its own."""
        try:
            bound_loop()
        except RuntimeError:
            pass
        else:
            return False
        try:
            bind_loop(asyncio.get_running_loop())
        except RuntimeError:
            self._thread = LoopThread("sipsimple engine")
            self._thread.start()
            return True
        return False

    def _spawn(self, coroutine: Any, result: Result[Engine]) -> None:
        self._tasks.spawn(self._settle(coroutine, result))

    async def _settle(self, coroutine: Any, result: Result[Engine]) -> None:
        try:
            await coroutine
        except Exception as error:  # noqa: BLE001
            # Whoever started this has the result in hand and sees the error there.
            result.set_exception(error)
        else:
            result.set_result(self)

    async def _start(self, options: dict[str, Any]) -> None:
        post("SIPEngineWillStart", self)
        self._options = options
        try:
            router = Router(self)
            endpoint = Endpoint(router, user_agent=options["user_agent"])
            endpoint.on_trace = self._trace if options["trace_sip"] else None
            self._stack = Stack(endpoint, router, options["ignore_missing_ack"])
            set_stack(self._stack)
            await self._open_transports(options)
            client = MediaClient()
            client.port_range = options["rtp_port_range"]
            client.codecs = list(options["codecs"])
        except Exception:
            await self._close()
            post("SIPEngineDidFail", self)
            raise
        self._running = True
        post("SIPEngineDidStart", self)

    async def _open_transports(self, options: dict[str, Any]) -> None:
        self._address = options["local_ip"] or _default_address()
        transports: tuple[TransportName, ...] = ("udp", "tcp")
        for transport in transports:
            port = options[f"{transport}_port"]
            if port is not None:
                await self._listen(transport, port)

    async def _listen(self, transport: TransportName, port: int) -> None:
        try:
            await self.endpoint.listen(transport, self._options["local_ip"] or "0.0.0.0", port)
        except ListenError as error:
            raise PJSIPError.from_os_error(str(error), OSError(error.errno, "")) from error

    async def _stop(self) -> None:
        post("SIPEngineWillEnd", self)
        await self._close()
        post("SIPEngineDidEnd", self)
        if self._thread is not None:
            self._thread.stop()
            self._thread = None

    async def _close(self) -> None:
        if self._stack is not None:
            await self._stack.endpoint.close()
        await asyncio.to_thread(MediaClient().stop)
        self._stack = None
        set_stack(None)
        self._claimed = False

    # What the rest of the core uses

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

    # Attributes

    @property
    def is_running(self) -> bool:
        """True between `SIPEngineDidStart` and `stop()`."""
        return self._running

    @property
    def ip_address(self) -> str | None:
        """The address that peers reach us at, None while no transport is open."""
        return self._address if (self.udp_port or self.tcp_port or self.tls_port) else None

    udp_port = property(lambda self: self._port("udp"))
    tcp_port = property(lambda self: self._port("tcp"))
    tls_port = property(lambda self: self._port("tls"))

    def _port(self, transport: TransportName) -> int | None:
        if self._stack is None or not self._stack.endpoint.listens(transport):
            return None
        local = self._stack.endpoint.local_address(transport)
        return local[1] if local is not None else None

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
        _check({**self._options, "log_level": value})
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
        _check({**self._options, "rtp_port_range": value})
        self._options["rtp_port_range"] = MediaClient().port_range = (int(value[0]), int(value[1]))

    @property
    def codecs(self) -> list[str]:
        """The enabled codecs in order of preference."""
        return list(self._option("codecs"))

    @codecs.setter
    def codecs(self, value: list[str]) -> None:
        if len(set(value)) != len(value):
            raise ValueError(f"a codec is named twice: {', '.join(value)}")
        _check({**self._options, "codecs": value})
        self._options["codecs"] = MediaClient().codecs = list(value)

    @property
    def available_codecs(self) -> list[str]:
        """The codecs that can be offered here."""
        return MediaClient().available_codecs

    @property
    def input_devices(self) -> list[str]:
        """The names of the capture devices, the default one first."""
        return MediaClient().devices().inputs

    @property
    def output_devices(self) -> list[str]:
        """The names of the playback devices, the default one first."""
        return MediaClient().devices().outputs

    @property
    def sound_devices(self) -> list[str]:
        """The names of all sound devices."""
        devices = MediaClient().devices()
        return list(dict.fromkeys([*devices.inputs, *devices.outputs]))

    # Methods of the running engine

    def set_udp_port(self, value: int | None) -> Result[Engine]:
        """Close UDP (None) or move it to another port; the result raises PJSIPError when that port cannot be had."""
        return self._set_port("udp", value)

    def set_tcp_port(self, value: int | None) -> Result[Engine]:
        """As `set_udp_port`, for TCP."""
        return self._set_port("tcp", value)

    def _set_port(self, transport: TransportName, value: int | None) -> Result[Engine]:
        if value is not None and not 0 <= value <= 65535:
            raise ValueError(f"a port is from 0 to 65535, not {value}")
        self.endpoint  # noqa: B018 - raises while the engine does not run
        result: Result[Engine] = Result()
        run_in_loop(self._spawn, self._move(transport, value), result)
        return result

    async def _move(self, transport: TransportName, port: int | None) -> None:
        if port is not None and port == self._port(transport):
            return
        await self.endpoint.close_transport(transport)
        self._options[f"{transport}_port"] = port
        if port is not None:
            await self._listen(transport, port)

    def set_tls_options(
        self,
        port: int | None = None,
        protocol: str | None = "TLSv1",
        verify_server: bool = False,
        ca_file: str | None = None,
        cert_file: str | None = None,
        privkey_file: str | None = None,
        timeout: int = 1000,
    ) -> Result[Engine]:
        """Change the options of TLS; `port=None` closes it."""
        options = {
            "tls_port": port,
            "tls_protocol": protocol,
            "tls_verify_server": verify_server,
            "tls_ca_file": ca_file,
            "tls_cert_file": cert_file,
            "tls_privkey_file": privkey_file,
            "tls_timeout": timeout,
        }
        _check({**self._options, **options})
        for name in (ca_file, cert_file, privkey_file):
            if name is not None and not os.path.isfile(name):
                raise ValueError(f"there is no file {name}")
        self._options.update(options)
        result: Result[Engine] = Result()
        result.set_result(self)
        return result

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

    @staticmethod
    def parse_sip_uri(text: str) -> SIPURI:
        """Read a SIP URI; raises SIPCoreError when it is none."""
        return SIPURI.new(FrozenSIPURI.parse(text))

    def __repr__(self) -> str:
        return f"<Engine {'running' if self._running else 'stopped'}>"


def _handed_on(method: str) -> str:
    name = method.upper()
    if name in _NEVER_HANDED_ON:
        raise ValueError(f"{name} is answered by the core itself")
    return name


def _check(options: dict[str, Any]) -> None:
    """Refuse options that make no sense, before anything is opened."""
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


def _default_address() -> str:
    """The address of the interface with the default route; 127.0.0.1 where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a UDP socket sends nothing; it only makes the kernel choose an address.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
