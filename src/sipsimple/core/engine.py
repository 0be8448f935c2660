"""The SIP engine: owns the transports, posts what they tell, and knows the media engine's settings.

An asyncio service. `await Engine().start(...)` runs it in the caller's loop; `Engine().start(...)` where no loop runs
gives it a loop in a thread of its own, and blocks until it is ready.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, Final

from sipsimple.core.engine_options import EngineOptions, check_options
from sipsimple.core.media import MediaClient
from sipsimple.core.network import default_address
from sipsimple.core.notices import post
from sipsimple.core.router import Router
from sipsimple.core.stack import Stack, set_stack, stack
from sipsimple.core.tls import TLSSecurity, address_of_record
from sipsimple.loop import LoopThread, Result, TaskOwner, bind_loop, bound_loop, run_in_loop
from sipsimple.media.commands import DeviceNames
from sipsimple.singleton import Singleton
from sipsimple.sip.endpoint import Endpoint
from sipsimple.sip.errors import PJSIPError, SIPCoreError
from sipsimple.sip.transport import TRANSPORTS, Identity, ListenError, TransportName
from sipsimple.sip.uri import SIPURI, FrozenSIPURI

CORE_REVISION: Final = 88


class Engine(EngineOptions, metaclass=Singleton):
    """The SIP engine of the process; see the notifications `SIPEngine...`."""

    def __init__(self) -> None:
        super().__init__()
        self._running = False
        self._claimed = False
        self._stack: Stack | None = None
        self._tasks = TaskOwner("engine")
        self._thread: LoopThread | None = None

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
        check_options(chosen)
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
            client.on_devices_changed = self._devices_changed
        except Exception:
            await self._close()
            post("SIPEngineDidFail", self)
            raise
        self._running = True
        post("SIPEngineDidStart", self)

    async def _open_transports(self, options: dict[str, Any]) -> None:
        for transport in TRANSPORTS:
            port = options[f"{transport}_port"]
            if port is not None:
                await self._listen(transport, port)

    async def _listen(self, transport: TransportName, port: int) -> None:
        security = TLSSecurity(self._options) if transport == "tls" else None
        try:
            await self.endpoint.listen(transport, self._options["local_ip"] or "0.0.0.0", port, security)
        except ListenError as error:
            raise PJSIPError.from_os_error(str(error), OSError(error.errno, "")) from error

    def _devices_changed(self, old: DeviceNames, new: DeviceNames) -> None:
        old_names, new_names = (list(dict.fromkeys(names.inputs + names.outputs)) for names in (old, new))
        if set(old_names) != set(new_names):
            post("AudioDevicesDidChange", self, old_devices=old_names, new_devices=new_names)
        changed_input, changed_output = old.inputs[:1] != new.inputs[:1], old.outputs[:1] != new.outputs[:1]
        if changed_input or changed_output:
            post("DefaultAudioDeviceDidChange", self, changed_input=changed_input, changed_output=changed_output)

    async def _stop(self) -> None:
        MediaClient().on_devices_changed = None
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

    # Attributes

    @property
    def is_running(self) -> bool:
        """True between `SIPEngineDidStart` and `stop()`."""
        return self._running

    @property
    def ip_address(self) -> str | None:
        """The address that peers reach us at, None while no transport is open."""
        if not (self.udp_port or self.tcp_port or self.tls_port):
            return None
        return self._options["local_ip"] or default_address()

    udp_port = property(lambda self: self._port("udp"))
    tcp_port = property(lambda self: self._port("tcp"))
    tls_port = property(lambda self: self._port("tls"))

    def _port(self, transport: TransportName) -> int | None:
        if self._stack is None or not self._stack.endpoint.listens(transport):
            return None
        local = self._stack.endpoint.local_address(transport)
        return local[1] if local is not None else None

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
        if port is None or port != self._port(transport):
            self._options[f"{transport}_port"] = port
            await self._reopen(transport, port)

    async def _reopen(self, transport: TransportName, port: int | None) -> None:
        await self.endpoint.close_transport(transport)
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
        """Start TLS anew with these options; `port=None` closes it, and so does a failure.

        Raises ValueError for what makes no sense; the result raises PJSIPTLSError when a certificate, key or list of
        authorities cannot be used, PJSIPError when the port cannot be had.
        """
        options = {
            "tls_port": port,
            "tls_protocol": protocol,
            "tls_verify_server": verify_server,
            "tls_ca_file": ca_file,
            "tls_cert_file": cert_file,
            "tls_privkey_file": privkey_file,
            "tls_timeout": timeout,
        }
        self.endpoint  # noqa: B018 - raises while the engine does not run
        check_options({**self._options, **options})
        for name in (ca_file, cert_file, privkey_file):
            if name is not None and not os.path.isfile(name):
                raise ValueError(f"there is no file {name}")
        self._options.update(options)
        result: Result[Engine] = Result()
        run_in_loop(self._spawn, self._reopen("tls", port), result)
        return result

    def set_tls_identity(self, uri: Any, certificate: str | None = None, verify_server: bool = True) -> None:
        """Connect over TLS on behalf of this SIP URI with a certificate of its own, in a file that holds the key too.

        Its connections are shared with nobody who has another identity. A file that cannot be used fails the requests
        that need it.
        """
        stack().identities[address_of_record(uri)] = Identity(certificate, verify_server)

    def forget_tls_identity(self, uri: Any) -> None:
        """Connect on behalf of this URI as for all others; connections that are open stay."""
        if self._stack is not None:
            self._stack.identities.pop(address_of_record(uri), None)

    @staticmethod
    def parse_sip_uri(text: str) -> SIPURI:
        """Read a SIP URI; raises SIPCoreError when it is none."""
        return SIPURI.new(FrozenSIPURI.parse(text))

    def __repr__(self) -> str:
        return f"<Engine {'running' if self._running else 'stopped'}>"
