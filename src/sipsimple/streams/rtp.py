"""Audio over RTP as a stream of a session, and as a port of audio bridges.

The stream opens its ports when it is initialised, starts when both descriptions are known, and from then on takes
part in its own `bridge`, where the sound device is. On local hold it leaves the bridge, so that the local party neither
hears nor is heard; on remote hold it stays, so that music from there is heard.

Whether it is encrypted is for the account to say (`encryption`), as is whether its way is looked for by ICE
(`traversal`); the stream starts when that is found, or is not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from zope.interface import implementer

from sipsimple.audio import AudioBridge, AudioDevice, IAudioPort
from sipsimple.audio.port import post, slots_changed
from sipsimple.configuration.settings import SIPSimpleSettings
from sipsimple.core import (
    AudioTransport,
    PJSIPError,
    RTPTransport,
    SDPMediaStream,
    SDPNegotiationError,
    SIPCoreError,
)
from sipsimple.core.digits import digit_in
from sipsimple.core.media import MediaClient
from sipsimple.core.media.formats import direction_of, is_reachable
from sipsimple.loop import TaskOwner, run_in_loop
from sipsimple.notification import IObserver, Notification, NotificationCenter
from sipsimple.streams import digits
from sipsimple.streams.encryption import EncryptionPolicy
from sipsimple.streams.interface import IMediaStream, InvalidStreamError, UnknownStreamError
from sipsimple.streams.places import TransportAttributes
from sipsimple.streams.recording import Recordable, StreamRecording
from sipsimple.streams.registry import MediaStreamRegistrar
from sipsimple.streams.traversal import stun_servers, turn_server, wants_ice

NEGOTIATED_STATES: Final = ("INITIALIZED", "WAIT_ICE", "ESTABLISHED")


@implementer(IMediaStream, IAudioPort, IObserver)
class AudioStream(TransportAttributes, Recordable, metaclass=MediaStreamRegistrar):
    """An audio stream of a session.

    `state` is one of NULL, INITIALIZING, INITIALIZED, WAIT_ICE, ESTABLISHED, ENDED. Raises RuntimeError when the
    application has no voice mixer yet.
    """

    type = "audio"
    priority = 1
    hold_supported = True

    def __init__(self, account: Any) -> None:
        mixer = MediaClient().voice_mixer
        if mixer is None:
            raise RuntimeError("there is no audio mixer for the stream: start SIPApplication first")
        self.account = account
        self.session: Any = None
        self.index: int | None = None
        self.mixer = mixer
        self.bridge = AudioBridge(mixer)
        self.device = AudioDevice(mixer)
        self.bridge.add(self.device)
        self.state = "NULL"
        self.on_hold_by_local = False
        self.on_hold_by_remote = False
        self._wants_hold = False
        self._muted = False
        self._offer: tuple[Any, int] | None = None
        self._refusal: str | None = None
        self._settled_policy: EncryptionPolicy | None = None
        self._encrypted = False
        self._transport: RTPTransport | None = None
        self._audio: AudioTransport | None = None
        self._recording: StreamRecording | None = None
        self._presses = digits.Presses()
        self._early_digits: deque[str] = deque(maxlen=digits.MAX_REMEMBERED)
        self._tasks = TaskOwner("AudioStream")

    @classmethod
    def new_from_sdp(cls, account: Any, remote_sdp: Any, stream_index: int) -> AudioStream | None:
        """A stream for an audio media that is offered; raises InvalidStreamError for what we refuse, or cannot do."""
        media = remote_sdp.media[stream_index]
        if media.media != "audio":
            raise UnknownStreamError(f"{media.media} is not audio")
        # By which way the offer came is not known here; `get_local_media` refuses keys that others could read.
        refusal = EncryptionPolicy.of(account, None).objection(remote_sdp, stream_index)
        if refusal is not None:
            raise InvalidStreamError(refusal)
        local_ip = SIPSimpleSettings().local_ip
        if not is_reachable(remote_sdp, stream_index, None if local_ip is None else str(local_ip)):
            raise InvalidStreamError("audio at an address of another family than ours")
        stream = cls(account)
        stream._offer = (remote_sdp, stream_index)
        return stream

    # What it knows

    @property
    def on_hold(self) -> bool:
        return self.on_hold_by_local or self.on_hold_by_remote

    @property
    def consumer_slot(self) -> int | None:
        """The slot whose sound is sent to the remote, None unless established."""
        return self._audio.slot if self._audio is not None and self.state == "ESTABLISHED" else None

    @property
    def producer_slot(self) -> int | None:
        """The slot of what the remote sends, None unless established, and when `muted`."""
        return None if self._muted else self.consumer_slot

    @property
    def muted(self) -> bool:
        """True when what the remote sends is not heard."""
        return self._muted

    @muted.setter
    def muted(self, muted: bool) -> None:
        if not isinstance(muted, bool):
            raise ValueError(f"muted is True or False, not {muted!r}")  # noqa: TRY004  # the contract's choice
        old = self.producer_slot
        self._muted = muted
        if self.producer_slot != old:
            slots_changed(self, producer=(old, self.producer_slot))

    @property
    def codec(self) -> str | None:
        """The negotiated encoding name, None before the start and after the end."""
        return self._audio.codec if self._audio is not None else None

    @property
    def sample_rate(self) -> int | None:
        """The sampling rate of the codec in Hz, None before the start and after the end."""
        return self._audio.sample_rate if self._audio is not None else None

    @property
    def statistics(self) -> dict[str, Any] | None:
        """See `AudioTransport.statistics`."""
        return self._audio.statistics if self._audio is not None else None

    # What the session does with it

    def initialize(self, session: Any, direction: str) -> None:
        """Open the ports; raises RuntimeError when that was done before."""
        self._expect("initialize", "NULL")
        self.state = "INITIALIZING"
        self.session = session
        run_in_loop(self._initialize, direction)

    def _spawn(self, function: Callable[..., Any], *args: Any) -> None:
        self._tasks.spawn(function(*args))

    def _initialize(self, direction: str) -> None:
        if self.state != "INITIALIZING":
            return
        try:
            if wants_ice(self.account, self._offer if direction == "incoming" else None):
                self._spawn(self._open_for_ice, direction)
                return
            self._transport = self._make_transport(direction)
            if self._transport.open_at_once():
                self._opened(direction)
            else:
                self._spawn(self._open, direction)
        except SIPCoreError as error:
            self._fail(str(error))

    async def _open(self, direction: str) -> None:
        assert self._transport is not None  # made by the caller
        try:
            await self._transport.open()
            self._opened(direction)
        except SIPCoreError as error:
            self._fail(str(error))

    async def _open_for_ice(self, direction: str) -> None:
        """Open the ports with the first STUN server that answers, or else with none."""
        options: dict[str, Any] = {"use_ice": True, "turn_server": turn_server(self.account)}
        reason = ""
        for server in (*await stun_servers(self.account), None):
            if server is not None:
                options["ice_stun_address"], options["ice_stun_port"] = server
            else:
                options["ice_stun_address"] = None
            try:
                transport = self._transport = self._make_transport(direction, options)
            except SIPCoreError as error:
                self._fail(str(error))
                return
            NotificationCenter().add_observer(self, sender=transport)
            try:
                await transport.open()
                self._opened(direction)
                return
            except SIPCoreError as error:
                reason = str(error)
                NotificationCenter().discard_observer(self, sender=transport)
        self._fail(reason)

    def _opened(self, direction: str) -> None:
        NotificationCenter().add_observer(self, name="SystemIPAddressDidChange")
        if self._refusal is None:
            self._audio = self._make_audio(direction)
        self.state = "INITIALIZED"
        post("MediaStreamDidInitialize", self)

    def _make_transport(self, direction: str, options: dict[str, Any] | None = None) -> RTPTransport:
        """The ports, not yet open. Raises SIPCoreError when SRTP is demanded and we must not offer it."""
        policy, local_ip = self._policy, SIPSimpleSettings().local_ip
        offer = self._offer if direction == "incoming" else None
        if offer is not None:
            self._refusal = policy.objection(*offer)
        return policy.transport(None if local_ip is None else str(local_ip), offer, options)

    @property
    def _policy(self) -> EncryptionPolicy:
        """What the account wants of encryption, by the way that descriptions go; a stream that runs stays as it is."""
        return self._settled_policy or EncryptionPolicy.of(self.account, self.session.transport)

    def _make_audio(self, direction: str) -> AudioTransport:
        assert self._transport is not None  # opened by the caller
        codecs = self.account.rtp.audio_codec_list or SIPSimpleSettings().rtp.audio_codec_list
        remote_sdp, index = self._offer if self._offer is not None and direction == "incoming" else (None, 0)
        audio = AudioTransport(self.mixer, self._transport, remote_sdp, index, codecs=list(codecs))
        audio.detect_tones = digits.delivery(self.account) == "inband"
        NotificationCenter().add_observer(self, sender=audio)
        return audio

    def get_local_media(self, for_offer: bool) -> SDPMediaStream:
        """Our media with the direction that we want; the negotiation narrows it to what the remote allows.

        Raises SDPNegotiationError when the media would be encrypted, or not, as the account does not want it.
        """
        audio, transport = self._audio, self._transport
        if self._refusal is not None:
            raise SDPNegotiationError(self._refusal)
        if audio is None or transport is None or self.state not in NEGOTIATED_STATES:
            raise RuntimeError(f"get_local_media() is for initialized streams, this one is {self.state}")
        # The next route may be another way than the last one was.
        transport.keying.accepts = self._policy.ways
        sends = not for_offer or audio.direction in (None, "sendrecv", "sendonly")
        direction = direction_of(sends, receives=not self._wants_hold)
        if for_offer or self._offer is None:
            return audio.get_local_media(True, direction)
        return audio.answer(*self._offer, direction)

    def start(self, local_sdp: Any, remote_sdp: Any, stream_index: int) -> None:
        """Send and receive; raises RuntimeError unless initialized."""
        self._expect("start", "INITIALIZED")
        assert self._audio is not None  # made by initialize
        timeout = int(SIPSimpleSettings().rtp.timeout)
        try:
            self._audio.start(local_sdp, remote_sdp, stream_index, timeout, timeout)
        except SIPCoreError as error:
            self._fail(str(error))
            return
        self._settled_policy = self._policy
        ice = self._transport.connectivity if self._transport is not None else None
        if ice is not None and ice.checking:
            self.state = "WAIT_ICE"
        else:
            self._established()

    def _established(self) -> None:
        self.state = "ESTABLISHED"
        slot = self.consumer_slot
        slots_changed(self, consumer=(None, slot), producer=(None, self.producer_slot))
        self._follow_hold()
        post("MediaStreamDidStart", self)
        self._follow_encryption()
        while self._early_digits and self.state == "ESTABLISHED":
            self._got_digit(self._early_digits.popleft(), "info")

    def validate_update(self, remote_sdp: Any, stream_index: int) -> bool:
        """True unless the remote wants an encryption, codecs or an address that we cannot have.

        What is valid is what the next answer answers.
        """
        audio = self._audio
        if audio is None:
            return False
        if remote_sdp.media[stream_index].port:
            refusal = self._policy.objection(remote_sdp, stream_index)
            if refusal is not None or not audio.can_use(remote_sdp, stream_index):
                return False
        self._offer = (remote_sdp, stream_index)
        return True

    def update(self, local_sdp: Any, remote_sdp: Any, stream_index: int) -> None:
        """Go on as negotiated anew: in another direction, with another codec or to another place."""
        audio = self._audio
        if audio is None or self.state != "ESTABLISHED":
            return
        before = (self.remote_rtp_address_sdp, self.remote_rtp_port_sdp, self.codec)
        try:
            audio.update(local_sdp, remote_sdp, stream_index)
        except SIPCoreError as error:
            self._fail(str(error))
            return
        changed = before != (self.remote_rtp_address_sdp, self.remote_rtp_port_sdp, self.codec)
        if changed:
            consumer, producer = self.consumer_slot, self.producer_slot
            slots_changed(self, consumer=(consumer, consumer), producer=(producer, producer))
        self._follow_hold()
        if changed:
            post("AudioStreamDidChangeRTPParameters", self)
        self._follow_encryption()

    def hold(self) -> None:
        """Leave the bridge now, and ask for hold in the next description."""
        if not self._wants_hold:
            self._wants_hold = True
            self._take_part(False)

    def unhold(self) -> None:
        """Ask for the end of hold in the next description; the stream comes back when that is agreed.

        It comes back at once when the hold was never agreed, because its re-INVITE failed or was not sent.
        """
        self._wants_hold = False
        if self.state == "ESTABLISHED" and not self.on_hold_by_local:
            self._take_part(True)

    def deactivate(self) -> None:
        """RTP has no connection whose loss would have to be expected."""

    def end(self) -> None:
        """Stop and close; idempotent."""
        if self.state == "ENDED" and self.session is None:
            return
        session, self.session = self.session, None
        was_initialized = session is not None or self.state != "NULL"
        self.state = "ENDED"
        self._tasks.cancel()
        if was_initialized:
            run_in_loop(self._end)

    def _end(self) -> None:
        post("MediaStreamWillEnd", self)
        if self._recording is not None:
            self._tasks.spawn(self._end_recorded())
        else:
            self._close()

    async def _end_recorded(self) -> None:
        try:
            await self._stop_recording()
        finally:
            self._close()

    def _close(self) -> None:
        audio, transport = self._audio, self._transport
        slot = audio.last_slot if audio is not None else None
        self._audio = self._transport = None
        self._take_part(False)
        if self.device in self.bridge:
            self.bridge.remove(self.device)
        NotificationCenter().discard_observer(self, name="SystemIPAddressDidChange")
        if audio is not None:
            NotificationCenter().discard_observer(self, sender=audio)
            audio.stop()
        if transport is not None:
            NotificationCenter().discard_observer(self, sender=transport)
            transport.close()
        if slot is not None:
            slots_changed(self, consumer=(slot, None), producer=(None if self._muted else slot, None))
        post("MediaStreamDidEnd", self)

    def _fail(self, reason: str) -> None:
        if self.state != "ENDED":
            self.state = "ENDED"
            if self._recording is not None:
                self._recording.pause(True)  # others may have the slot soon
            post("MediaStreamDidFail", self, reason=reason)

    def _expect(self, method: str, state: str) -> None:
        if self.state != state:
            raise RuntimeError(f"{method}() is for streams in state {state}, this one is {self.state}")

    def _follow_encryption(self) -> None:
        """Tell when what is sent and heard begins to be encrypted, or ends to be."""
        was_active, self._encrypted = self._encrypted, self.srtp_active
        if self._encrypted and not was_active:
            post("AudioStreamDidEnableEncryption", self, keying=self.srtp_keying, cipher=self.srtp_cipher)
        elif was_active and not self._encrypted:
            post("AudioStreamDidDisableEncryption", self)

    # Hold

    def _follow_hold(self) -> None:
        """Tell what the negotiated direction means, and take part in the bridge accordingly."""
        direction = (self._audio.direction if self._audio is not None else None) or "inactive"
        local, remote = direction in ("sendonly", "inactive"), direction in ("recvonly", "inactive")
        changed_local, changed_remote = local != self.on_hold_by_local, remote != self.on_hold_by_remote
        self.on_hold_by_local, self.on_hold_by_remote = local, remote
        self._take_part(not local and not self._wants_hold)
        if changed_local:
            post("AudioStreamDidChangeHoldState", self, originator="local", on_hold=local)
        if changed_remote:
            post("AudioStreamDidChangeHoldState", self, originator="remote", on_hold=remote)

    def _take_part(self, takes_part: bool) -> None:
        if takes_part:
            self.bridge.add(self)
        elif self in self.bridge:
            self.bridge.remove(self)
        if self._recording is not None:
            self._recording.pause(not takes_part or self.on_hold)

    # What the application does with it

    def send_dtmf(self, digit: str) -> None:
        """Send a digit (0-9, A-D, * or #) by the way that `rtp.dtmf_delivery` of the account names.

        Raises RuntimeError unless established, SIPCoreError for no digit, or for one that cannot go by INFO just now.
        """
        self._expect("send_dtmf", "ESTABLISHED")
        assert self._audio is not None  # an established stream has one
        try:
            digits.press(digit, self._audio, self.session, digits.delivery(self.account))
        except PJSIPError:
            # Too many digits wait already; who types faster than they can be sent has lost this one.
            return

    def take_info(self, content_type: str, body: bytes) -> None:
        """Take the content of an INFO that came in the session; what is no digit is left as it is.

        A digit that comes before the stream is established is told when it is.
        """
        digit = digit_in(content_type, body)
        if digit is not None and self.state == "ESTABLISHED":
            self._got_digit(digit, "info")
        elif digit is not None and self.state in NEGOTIATED_STATES:
            self._early_digits.append(digit)

    def _got_digit(self, digit: str, way: str) -> None:
        if self._presses.is_new(digit, way):
            post("AudioStreamGotDTMF", self, digit=digit)

    def handle_notification(self, notification: Notification) -> None:
        """Hand on what the audio transport tells, and follow a change of our address."""
        if notification.name == "SystemIPAddressDidChange" and self._transport is not None:
            self._transport.moved(notification.data.new_ip_address)
        if notification.sender is self._transport and self._transport is not None:
            self._follow_ice(notification)
        if notification.sender is not self._audio:
            return
        if notification.name == "RTPAudioStreamGotDTMF":
            self._got_digit(notification.data.digit, "inband" if notification.data.inband else "events")
        elif notification.name == "RTPAudioTransportDidSecure":
            self._follow_encryption()
        elif notification.name == "RTPAudioTransportDidFail":
            self._fail(notification.data.reason)

    def _follow_ice(self, notification: Notification) -> None:
        """Hand on what the transport tells of ICE, and start when that has come to its end."""
        name = notification.name.removeprefix("RTPTransport")
        if not name.startswith("ICENegotiation"):
            return
        data = {key: value for key, value in vars(notification.data).items() if key != "timestamp"}
        post(f"AudioStream{name}", self, **data)
        if name != "ICENegotiationStateDidChange" and self.state == "WAIT_ICE":
            self._established()
