"""An audio stream over an RTP transport, in a slot of a mixer: its description, its life, its statistics and digits."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from sipsimple.core.media import formats
from sipsimple.core.media.client import TOO_MANY, translate
from sipsimple.core.media.mixer import AudioMixer
from sipsimple.core.media.ports import AudibleSlot
from sipsimple.core.media.rtp import RTPTransport
from sipsimple.core.media.snapshot import Snapshot
from sipsimple.core.notices import post
from sipsimple.media import commands
from sipsimple.media.dtmf import DIGIT_SECONDS, DIGITS, MAX_QUEUED_DIGITS
from sipsimple.media.stream import StreamConfig
from sipsimple.media.values import replace
from sipsimple.sip.errors import PJSIPError, SDPNegotiationError, SIPCoreError
from sipsimple.sip.sdp import SDPMediaStream, SDPSession

STATISTICS_TIMEOUT: Final = 0.5


class AudioTransport(AudibleSlot):
    """One audio stream. Made without `remote_sdp` it makes the offer, with it the answer.

    With `detect_tones`, set before the start, digits are looked for in the sound; so they are without telephone-events.
    """

    def __init__(
        self,
        mixer: AudioMixer,
        transport: RTPTransport,
        remote_sdp: Any = None,
        sdp_index: int = 0,
        enable_silence_detection: bool = True,
        codecs: list[str] | None = None,
    ) -> None:
        if transport.state != "INIT":
            raise SIPCoreError(
                f"RTPTransport object provided is not in the INIT state, but in the {transport.state} state"
            )
        super().__init__(mixer)
        self._transport = transport
        self._enable_silence_detection = bool(enable_silence_detection)
        self._id = 0
        self._is_started = False
        self._consents = True
        self.detect_tones = False
        self._agreement: formats.Agreement | None = None
        self._direction: str | None = None
        self._config: StreamConfig | None = None
        # Made for those who ask: it refers to us, and without it only the references of others keep us.
        self._statistics: Snapshot | None = None
        self._final_statistics: Future[Any] | None = None
        self._digits_until = 0.0
        self._local_media = self._describe(codecs, remote_sdp, sdp_index)
        self._client.listen(("audio", transport.id), self)

    def _describe(self, codecs: list[str] | None, remote_sdp: Any, index: int) -> SDPMediaStream:
        chosen = formats.formats_for(
            self._client.codecs if codecs is None else codecs, self._client.available_codecs, self._mixer.sample_rate
        )
        media = formats.local_media(chosen, self._transport.local_rtp_port or 0)
        address = self._transport.local_rtp_address or ""
        if remote_sdp is None:
            self._transport.set_LOCAL(SDPSession(address, media=[media]), 0)
        else:
            local_sdp = SDPSession(address, media=[media] * (index + 1))
            self._transport.set_ESTABLISHED(local_sdp, remote_sdp, index)
        return media

    @property
    def transport(self) -> RTPTransport:
        return self._transport

    @property
    def is_started(self) -> bool:
        """True from `start` on, also after `stop`."""
        return self._is_started

    @property
    def codec(self) -> str | None:
        """The encoding name in use, None before the start."""
        return None if self._agreement is None else self._agreement.codec.name

    @property
    def sample_rate(self) -> int | None:
        """The sampling rate of the audio in Hz, None before the start."""
        return None if self._agreement is None else self._agreement.codec.sample_rate

    @property
    def direction(self) -> str | None:
        """What is sent and received now, None before the start."""
        return self._direction

    @property
    def has_telephone_event(self) -> bool:
        """True when the remote can be sent digits."""
        return self._agreement is not None and self._agreement.telephone_event_type is not None

    @property
    def enable_silence_detection(self) -> bool:
        return self._enable_silence_detection

    def get_local_media(self, is_offer: bool, direction: str = "sendrecv") -> SDPMediaStream:
        """Our media for an offer with this direction, or for an answer; the direction is its last line."""
        if direction not in formats.DIRECTIONS:
            raise SIPCoreError(f"Unknown direction: {direction}")
        if not is_offer:
            willing = self._direction is None or formats.receives(self._direction)
            direction = "sendrecv" if willing else "sendonly"
        media = formats.with_direction(self._local_media, direction)
        self._transport.write_address(media)
        if is_offer:
            self._transport.write_offer(media)
        return media

    def answer(self, remote_sdp: Any, sdp_index: int, direction: str = "sendrecv") -> SDPMediaStream:
        """Our media for an answer to this offer, with the direction that we want; the negotiation narrows it.

        Raises SDPNegotiationError for an offer whose encryption, or lack of it, we refuse.
        """
        media = formats.with_direction(self._local_media, direction)
        self._transport.write_address(media)
        self._transport.write_answer(media, remote_sdp, sdp_index)
        return media

    def can_use(self, remote_sdp: Any, sdp_index: int) -> bool:
        """True when we reach the media at `sdp_index`, and have a codec in common with it."""
        if not formats.is_reachable(remote_sdp, sdp_index, self._transport.local_rtp_address):
            return False
        local_sdp = SDPSession("0.0.0.0", media=[self._local_media] * (sdp_index + 1))
        try:
            formats.agree(local_sdp, remote_sdp, sdp_index)
        except SDPNegotiationError:
            return False
        return True

    def start(
        self,
        local_sdp: Any,
        remote_sdp: Any,
        sdp_index: int,
        no_media_timeout: float = 10,
        media_check_interval: float = 30,
    ) -> None:
        """Send and receive as both descriptions say; times are in seconds, 0 disables the check.

        Raises SIPCoreError on a second start, for a refused media and for descriptions without a common codec. That the
        engine refuses the stream is told later, by `RTPAudioTransportDidFail`.
        """
        if self._is_started:
            raise SIPCoreError("This AudioTransport was already started once")
        if no_media_timeout < 0 or media_check_interval < 0:
            raise ValueError("no_media_timeout and media_check_interval are in seconds and must not be negative")
        agreement = self._agree(local_sdp, remote_sdp, sdp_index)
        self._know_remote(local_sdp, remote_sdp, sdp_index)
        self._agreement, self._direction = agreement, agreement.direction
        self._config = self._new_config(agreement, float(no_media_timeout), float(media_check_interval))
        slot = self._mixer.take_slot()
        self._id = self._client.new_id()
        self._client.listen(self._id, self)
        self._occupy(slot, commands.StopStream(self._id))
        self._is_started = True
        self._connect(local_sdp, remote_sdp, sdp_index)
        command = commands.StartStream(
            self._mixer.id, slot, self._id, self._transport.id, self._permitted(self._config)
        )
        self._client.post(command)
        if self._volume != 100:
            self.volume = self._volume

    def update(self, local_sdp: Any, remote_sdp: Any, sdp_index: int) -> None:
        """Go on in the same slot as a new pair of descriptions says.

        That the engine refuses to is told later, by `RTPAudioTransportDidFail`; the stream is stopped then.
        """
        if self._slot is None or self._config is None:
            raise SIPCoreError("This AudioTransport is not active")
        agreement = self._agree(local_sdp, remote_sdp, sdp_index)
        self._know_remote(local_sdp, remote_sdp, sdp_index)
        self._agreement, self._direction = agreement, agreement.direction
        self._connect(local_sdp, remote_sdp, sdp_index)
        self._use(self._new_config(agreement, self._config.no_media_timeout, self._config.media_check_interval))

    def update_direction(self, direction: str) -> None:
        """Pause or resume sending and receiving."""
        if direction not in formats.DIRECTIONS:
            raise SIPCoreError(f"Unknown direction: {direction}")
        if self._slot is None or self._config is None:
            raise SIPCoreError("This AudioTransport is not active")
        if direction != self._direction:
            self._direction = direction
            self._use(replace(self._config, direction=direction))

    def stop(self) -> None:
        """Leave the mixer; the transport returns to INIT. Idempotent."""
        if self._slot is None:
            return
        self._client.ignore(self._id)
        self._client.ignore(self._transport.id)
        # Hardly anybody asks for the last statistics, and whoever does may do so at any time later.
        self._final_statistics = self._client.request(commands.StopStream(self._id, patient=True))
        if self._statistics is not None:
            self._statistics.forget()
        self._forget()
        if self._transport.state != "INVALID":
            self._transport.set_INIT()

    def check_digit(self, digit: str) -> None:
        """Raise SIPCoreError for what is no digit or when not active."""
        if len(digit) != 1 or digit not in DIGITS:
            raise SIPCoreError(f"Not a valid DTMF digit: {digit}")
        if self._slot is None:
            raise SIPCoreError("Stream is not active")

    def send_dtmf(self, digit: str, inband: bool = False) -> None:
        """Send a digit as telephone-event, in silence when the remote did not agree to them; or as sound.

        Raises SIPCoreError for what is no digit or when not active, PJSIPError when too many digits wait.
        """
        self.check_digit(digit)
        if not inband and not self.has_telephone_event:
            return
        now = time.monotonic()
        until = max(now, self._digits_until) + DIGIT_SECONDS
        if until - now > MAX_QUEUED_DIGITS * DIGIT_SECONDS:
            raise PJSIPError("Could not send DTMF digit on audio stream", TOO_MANY)
        self._digits_until = until
        self._client.post(commands.SendDTMF(self._id, digit, inband))

    @property
    def statistics(self) -> dict[str, Any] | None:
        """What was sent and received, None before the start; those of the whole stream after its end.

        Keys are `rtt` (microseconds), `rx`, `tx` and `codec`. Beside what was counted, `rx` has `buffer_delay`
        (microseconds), `concealed` (0 to 1) and `mos`, and `tx` has `mos`, by what the remote reports: the mean opinion
        score of the E-model (ITU-T G.107), 1 to 4.5, None as long as nothing is known.

        Who looks more often than every 2 seconds does not wait, and sees the values of the time when it looked before;
        else this blocks for a tick of the engine, up to 20 ms.
        """
        if not self._is_started:
            return None
        if self._statistics is None:
            self._statistics = Snapshot(self._ask_statistics, self._await_statistics)
        values: dict[str, Any] | None = self._statistics.value()
        return values

    def _ask_statistics(self) -> Future[Any]:
        if self._final_statistics is None:
            return self._client.request(commands.StreamStatistics(self._id))
        if not self._final_statistics.done():
            # Any other reply brings those along that can wait.
            self._client.request(commands.EngineStatistics())
        return self._final_statistics

    def _await_statistics(self, future: Future[Any]) -> Any:
        return self._client.result(future, STATISTICS_TIMEOUT)

    def _agree(self, local_sdp: Any, remote_sdp: Any, index: int) -> formats.Agreement:
        if local_sdp.media[index].port == 0 or remote_sdp.media[index].port == 0:
            raise SIPCoreError("Cannot start a rejected audio stream")
        return formats.agree(local_sdp, remote_sdp, index)

    def _know_remote(self, local_sdp: Any, remote_sdp: Any, index: int) -> None:
        if self._transport.state == "LOCAL":
            self._transport.set_ESTABLISHED(local_sdp, remote_sdp, index)
        else:
            self._transport.agree(local_sdp, remote_sdp, index)
            self._transport.remote_is(remote_sdp, index)

    def _connect(self, local_sdp: Any, remote_sdp: Any, index: int) -> None:
        """Let ICE look for the way, if it is to be used; media follows it once it is known."""
        if self._transport.connectivity is not None:
            self._client.listen(self._transport.id, self)
            self._transport.connect(local_sdp, remote_sdp, index, self._connected)

    def _connected(self) -> None:
        if self._slot is not None and self._config is not None and self._agreement is not None:
            config = self._config
            config = self._new_config(self._agreement, config.no_media_timeout, config.media_check_interval)
            self._use(replace(config, direction=self._direction or config.direction))

    def _permitted(self, config: StreamConfig) -> StreamConfig:
        """The configuration, sending nothing where the remote has not agreed to it (RFC 8445 12.1, RFC 7675 5.1)."""
        ice = self._transport.connectivity
        if ice is None or (self._consents and (ice.active or not ice.checking)):
            return config
        return replace(config, direction=formats.direction_of(False, formats.receives(config.direction)))

    def _new_config(
        self, agreement: formats.Agreement, no_media_timeout: float, media_check_interval: float
    ) -> StreamConfig:
        place = (agreement.remote_address, agreement.remote_rtp_port, agreement.remote_rtcp_port)
        if agreement.remote_address in formats.NOWHERE:
            place = self._place_on_hold(*place)
        rtcp_address: str | None = None
        ice = self._transport.connectivity
        if ice is not None and (rtp := ice.place(1)) is not None:
            rtcp = ice.place(2)
            place = (rtp.address, rtp.port, rtcp.port if rtcp is not None else place[2])
            rtcp_address = rtcp.address if rtcp is not None else None
        return StreamConfig(
            remote_address=place[0],
            remote_rtp_port=place[1],
            remote_rtcp_port=place[2],
            remote_rtcp_address=rtcp_address,
            rtcp_mux=self._transport.rtcp_mux,
            codec=agreement.codec.name,
            payload_type=agreement.payload_type,
            receive_type=agreement.receive_type,
            clock_rate=agreement.codec.clock_rate,
            parameters=agreement.parameters,
            mixer_rate=self._mixer.sample_rate,
            direction=agreement.direction,
            ptime_ms=agreement.ptime_ms,
            telephone_event_type=agreement.telephone_event_type,
            telephone_event_receive_type=agreement.telephone_event_receive_type,
            telephone_event_rate=agreement.telephone_event_rate,
            detect_tones=self.detect_tones or agreement.telephone_event_type is None,
            no_media_timeout=no_media_timeout,
            media_check_interval=media_check_interval,
            security=self._transport.security,
        )

    def _place_on_hold(self, nowhere: str, port: int, rtcp_port: int | None) -> tuple[str, int, int | None]:
        """Where the remote was before it wanted nothing any more: its reports still go there, and keep a NAT open."""
        if self._config is not None:
            return self._config.remote_address, self._config.remote_rtp_port, self._config.remote_rtcp_port
        nowhere = "::" if ":" in (self._transport.local_rtp_address or "") else "0.0.0.0"
        return nowhere, port, rtcp_port

    def _use(self, config: StreamConfig) -> None:
        self._config = config
        self._client.post(commands.UpdateStream(self._id, self._permitted(config)))

    def _refused(self, command: commands.Command, error: SIPCoreError) -> None:
        """The engine could not start the stream, or not go on with it as was agreed."""
        if self._slot is None:
            return
        if isinstance(command, commands.UpdateStream):
            self.stop()
        else:
            self._client.ignore(self._id)
            self._forget()
        post("RTPAudioTransportDidFail", self, reason=str(error))

    def engine_died(self, reason: str) -> Callable[[], object] | None:
        """The stream has ended, and its ports are gone."""
        if not self._lost(self._id, self._transport.id) and self._is_started:
            return None  # it was over before
        return lambda: post("RTPAudioTransportDidFail", self, reason=reason)

    def handle_media_event(self, event: Any) -> None:
        """News of the stream from the engine."""
        match event:
            case commands.DTMFReceived():
                post("RTPAudioStreamGotDTMF", self, digit=event.digit, inband=event.inband)
            case commands.MediaTimeout() if self._direction == "sendrecv":
                post("RTPAudioTransportDidNotGetRTP", self, got_any=event.got_any)
            case commands.FirstPacketReceived() | commands.RemoteAddressChanged():
                self._transport.heard_from(event.address, event.port)
            case commands.CommandFailed():
                self._refused(event.command, translate(event.error))
            case commands.ConsentChanged() if self._config is not None:
                self._consents = event.consents
                self._use(self._config)
            case commands.StreamSecured():
                self._transport.secured(event.suite)
                post("RTPAudioTransportDidSecure", self, cipher=event.suite)
            case commands.StreamSecurityFailed():
                post("RTPAudioTransportDidFail", self, reason=event.reason)
            case _:
                return
