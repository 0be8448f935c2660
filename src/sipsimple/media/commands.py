"""What can be said to the media engine, and what it says: commands in, events out, both plain picklable values.
This is one long file because it is one table: the whole language between two processes, to be read side by side.

The engine may run in a thread or in a process of its own, so that nothing else passes between it and its client. The
client chooses every identifier (mixer, bridge, slot, transport, stream, player, recorder): a command needs no answer
before the next one can refer to what it made. Identifiers of one kind are unique for the life of the engine; a slot may
be used again as soon as what occupied it was removed, because commands are obeyed in the order in which they came.

A command that was posted without wanting a reply and fails is told by `CommandFailed`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .values import Value, field, replace

if TYPE_CHECKING:
    from .errors import MediaError
    from .ice.values import Credentials, RemoteICE, TURNServer
    from .stream import StreamConfig

DEVICE_SLOT: Final = 0
SYSTEM_DEFAULT: Final = "system_default"


class Command(Value):
    """The root of all commands; the host fills in `reply_to`, 0 means that nobody waits for the outcome."""

    reply_to: int = field(default=0, kw_only=True)

    def wanting(self, reply_to: int) -> Command:
        """Return the same command with somebody who waits for its outcome."""
        return replace(self, reply_to=reply_to)

    @property
    def can_wait(self) -> bool:
        """Whether whoever wants to know the outcome is in no hurry."""
        return False


# --- mixers ---------------------------------------------------------------------------------------------------------


class CreateMixer(Command):
    """Make a mixer without sound devices; slots run from 0 (the sound device) to `slot_count`. Replies None."""

    mixer: int
    sample_rate: int
    slot_count: int = 254


class DestroyMixer(Command):
    """Remove a mixer with all that occupies its slots; recordings are completed. Replies None."""

    mixer: int


class SetDevices(Command):
    """Close the devices of the mixer and open these: a name, `system_default`, or None.

    Replies `RealDevices`. Fails with `DeviceError`, and the mixer is then without devices. Unless `ec_tail` (ms) is 0,
    the echo is cancelled if both devices are open and there is what can do it; it finds out by itself how long it is.
    With `gain_control` the microphone is brought to an even loudness after that, and what is left of the echo with it.
    """

    mixer: int
    input: str | None
    output: str | None
    ec_tail: int = 200
    gain_control: bool = False


class RealDevices(Value):
    """The devices behind the names: None where there is no device, not even a default one."""

    input: str | None
    output: str | None


class ListDevices(Command):
    """Ask for the sound devices of the system. Replies `DeviceNames`."""


class DeviceNames(Value):
    """The sound devices of the system, the default one of each direction first."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Connect(Command):
    """Let the sink of slot `dst` hear the source of slot `src`; connecting twice is connecting once."""

    mixer: int
    src: int
    dst: int


class Disconnect(Command):
    """Undo `Connect`; slots that are not connected are left as they are."""

    mixer: int
    src: int
    dst: int


class SetVolume(Command):
    """Scale what comes from the slot, in percent; over 100 amplifies, and saturates."""

    mixer: int
    slot: int
    volume: int


class SetSinkVolume(Command):
    """Scale what goes to the slot, in percent; for slot 0 this is the loudspeaker."""

    mixer: int
    slot: int
    volume: int


class SetMuted(Command):
    """Silence the source of the slot, or let it be heard again at its volume; for slot 0 this is the microphone."""

    mixer: int
    slot: int
    muted: bool


class AddPort(Command):
    """Occupy the slot with a pass-through: what is sent to it is its source, in the same tick."""

    mixer: int
    slot: int


class AddToneGenerator(Command):
    """Occupy the slot with a source of tones, silent until `PlayTones`."""

    mixer: int
    slot: int


class RemoveSlot(Command):
    """Free the slot of a port or a tone generator; its connections and bridge memberships vanish."""

    mixer: int
    slot: int


class Tone(Value):
    """Two frequencies in Hz (0: none) for `duration` milliseconds; both 0 is silence."""

    frequency1: int
    frequency2: int
    duration: int


class PlayTones(Command):
    """Play the tones after those that the generator plays already; `TonesEnded` follows when it falls silent."""

    mixer: int
    slot: int
    tones: tuple[Tone, ...]


class StopTones(Command):
    """Fall silent at once; `TonesEnded` follows if tones were playing."""

    mixer: int
    slot: int


# --- bridges --------------------------------------------------------------------------------------------------------


class BridgeCreate(Command):
    """Make a bridge; each member hears the sum of all the other members.

    `members` are those that it begins with: (member, producer, consumer) as `BridgeAdd` has them.
    """

    mixer: int
    bridge: int
    members: tuple[tuple[int, int | None, int | None], ...] = ()


class BridgeDestroy(Command):
    """Remove a bridge with its memberships."""

    mixer: int
    bridge: int


class BridgeAdd(Command):
    """Let a member take part: slot `producer` is heard, slot `consumer` hears; None where there is none.

    A known `member` gets these slots instead of its former ones. The client names the members, unique in the bridge.
    """

    mixer: int
    bridge: int
    member: int
    producer: int | None
    consumer: int | None


class BridgeRemove(Command):
    """End a membership; an unknown one is left as it is."""

    mixer: int
    bridge: int
    member: int


# --- RTP ------------------------------------------------------------------------------------------------------------


class OpenTransport(Command):
    """Bind a pair of UDP ports, RTP on an even port of the range and RTCP on the next.

    Replies `LocalAddress`. Fails with `PortsExhausted` or `StreamError`.
    """

    transport: int
    address: str
    port_range: tuple[int, int]


class OpenTransports(Command):
    """Bind pairs of ports as `OpenTransport` does, for calls to come.

    Replies a `LocalAddress` for each of the first transports: fewer than were asked for when there are no more ports.
    """

    transports: tuple[int, ...]
    address: str
    port_range: tuple[int, int]


class LocalAddress(Value):
    """Where a transport receives."""

    address: str
    rtp_port: int
    rtcp_port: int


class CloseTransport(Command):
    """Close the sockets; a stream that uses them is stopped."""

    transport: int


class GatherCandidates(Command):
    """Find out at which addresses a transport may be reached, for ICE; `preferred` comes first.

    Replies a tuple of `Candidate`, seconds later if there are servers to ask. Fails with `ConnectivityFailed` when the
    STUN server does not answer, and with `CommandError`. The remote has to know the credentials to ask for us.
    """

    transport: int
    credentials: Credentials
    preferred: str
    stun_server: tuple[str, int] | None = None
    turn_server: TURNServer | None = None


class CheckCandidates(Command):
    """Check the candidates of a transport against those of the remote; with `mux`, RTCP goes where RTP goes.

    Replies `ICEOutcome`, or fails with `ConnectivityFailed`, within some ten seconds. Credentials other than before
    begin anew with the same candidates.
    """

    transport: int
    credentials: Credentials
    remote: RemoteICE
    controlling: bool
    mux: bool = False


class StartStream(Command):
    """Occupy the slot with an audio stream over the transport: its source is what arrives, its sink what is sent.

    Replies None. Fails with `StreamError`, `CodecUnavailable` or `CommandError`; the slot is then free.
    """

    mixer: int
    slot: int
    stream: int
    transport: int
    config: StreamConfig


class UpdateStream(Command):
    """Go on with another configuration (direction, remote address, codec, keys) in the same slot. Replies None."""

    stream: int
    config: StreamConfig


class StopStream(Command):
    """Say goodbye by RTCP and free the slot; the transport stays open. Replies the last statistics, a dict.

    A `patient` client has the reply when the engine has something else to tell, or a second later.
    """

    stream: int
    patient: bool = False

    @property
    def can_wait(self) -> bool:
        return self.patient


class SendDTMF(Command):
    """Queue a digit as telephone-event (RFC 4733), or as sound, during which the audio pauses. Replies None.

    Fails with `StreamError`: no digit, too many are waiting, events were not agreed on, the stream is on hold.
    """

    stream: int
    digit: str
    inband: bool = False


class LoadSecurity(Command):
    """Load what encrypted streams need, with `handshakes` what DTLS needs, before the first one begins."""

    handshakes: bool


class StreamStatistics(Command):
    """Ask for what was sent and received so far. Replies a dict."""

    stream: int


# --- files ----------------------------------------------------------------------------------------------------------


class PlayFile(Command):
    """Occupy the slot with a sound file, played once.

    Replies None when the file is open; fails with `WaveError`, and the slot is then free. After a success
    `PlaybackEnded` follows always, and the slot is free when it does.
    """

    mixer: int
    slot: int
    player: int
    path: str
    volume: int = 100


class StopFile(Command):
    """Stop playing and free the slot; a player that has ended is left as it is."""

    player: int


class RecordFile(Command):
    """Occupy the slot with a recorder: what is sent to it goes into the file, 16-bit mono at the mixer's rate.

    With `separate` the file has two channels, of what `TapRecording` names; what is sent to the slot is not recorded.
    Replies None when the file is open; fails with `RecordingError`, and the slot is then free.
    """

    mixer: int
    slot: int
    recorder: int
    path: str
    separate: bool = False


class TapRecording(Command):
    """Record what goes to another slot on the left, and what comes from it on the right; silence with None.

    Fails with `UnknownObject`, and with `CommandError` for a recorder that is not `separate`.
    """

    recorder: int
    slot: int | None


class StopRecording(Command):
    """Free the slot and complete the file. Replies `Recording` when the file is complete on the disk."""

    recorder: int


class Recording(Value):
    """A complete recording: its length, and how much of it is silence because the disk was too slow; in seconds."""

    path: str
    duration: float
    dropped: float


# --- samples of the program ----------------------------------------------------------------------------------------


class OpenPCM(Command):
    """Occupy the slot with samples of the program: its source is what `WritePCM` brings, at `sample_rate`.

    With `capture`, what is sent to the slot comes back, 20 ms with each `PCMReport`. Replies None.
    """

    mixer: int
    slot: int
    pcm: int
    sample_rate: int
    capture: bool


class WritePCM(Command):
    """Play these samples, int16, after those that were written before."""

    pcm: int
    samples: bytes

    def __repr__(self) -> str:
        return f"WritePCM(pcm={self.pcm}, {len(self.samples) // 2} samples)"


class FlushPCM(Command):
    """Throw away what was written and not played: the next tick is silent."""

    pcm: int


class ClosePCM(Command):
    """Free the slot; an unknown one is left as it is."""

    pcm: int


class EngineStatistics(Command):
    """Ask how the engine itself does. Replies a dict.

    `ticks` and those `skipped` since the start, the longest lateness `late_max` in seconds, how many ticks were late by
    how much in `late_counts` (see `lateness`), the `load` from 0 to 1, and the numbers of `mixers` and `streams`.
    """


# --- events ---------------------------------------------------------------------------------------------------------


class Event(Value):
    """The root of all events."""


class Reply(Event):
    """The outcome of a command that asked for it; the host turns it into the result of a future."""

    reply_to: int
    value: Any = None
    error: MediaError | None = None
    can_wait: bool = False


class CommandFailed(Event):
    """A command that nobody waits for could not be obeyed."""

    command: Command
    error: MediaError


class EngineDied(Event):
    """The engine ended by a defect of its own; `reason` is a traceback. No further event follows."""

    reason: str


class PlaybackEnded(Event):
    """A file was played to its end, or was stopped; `error` tells that reading it failed on the way."""

    player: int
    error: MediaError | None = None


class TonesEnded(Event):
    """A tone generator has fallen silent."""

    mixer: int
    slot: int


class PCMReport(Value):
    """What became of a program's samples: how many were played and thrown away so far, and what was heard (int16)."""

    pcm: int
    played: int
    flushed: int
    heard: bytes | None


class PCMTicked(Event):
    """The news of one tick for all programs that write or hear samples of a mixer."""

    reports: tuple[PCMReport, ...]


class RecordingFailed(Event):
    """The file cannot be written any more; what was written before stays playable. `StopRecording` frees the slot."""

    recorder: int
    error: MediaError


class DeviceFailed(Event):
    """The sound device of a mixer stopped working; the mixer goes on without devices."""

    mixer: int
    error: MediaError


class DevicesChanged(Event):
    """Sound devices came or went, or others are the default ones; `old` is None when the watch over them began."""

    old: DeviceNames | None
    new: DeviceNames


class DTMFReceived(Event):
    """The other side pressed a key; `inband` when that was heard as sound."""

    stream: int
    digit: str
    inband: bool = False


class MediaTimeout(Event):
    """No RTP arrived since the last check; `got_any` tells whether any ever did."""

    stream: int
    got_any: bool


class FirstPacketReceived(Event):
    """RTP of the stream has begun to arrive, from this address."""

    stream: int
    address: str
    port: int


class RemoteSaidGoodbye(Event):
    """The other side ended its RTP by an RTCP BYE; signalling decides what becomes of the call."""

    stream: int


class RemoteAddressChanged(Event):
    """RTP of the stream comes from this address now."""

    stream: int
    address: str
    port: int


class ConsentChanged(Event):
    """The remote of a transport that uses ICE does not answer any more, or does again (RFC 7675)."""

    transport: int
    consents: bool


class StreamSecured(Event):
    """A DTLS handshake has made the keys of the stream; `suite` is that of SRTP."""

    stream: int
    suite: str


class StreamSecurityFailed(Event):
    """The keys of the stream could not be agreed on over DTLS: nothing is sent or heard."""

    stream: int
    reason: str
