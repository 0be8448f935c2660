"""The codecs one by one: what they do to tones and speech-like sound, to losses, and to bytes that mean nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipsimple.media.codecs import Decoder, Encoder, Shelf, StreamCodec, read_parameters
from sipsimple.media.codecs.g722 import _av
from sipsimple.media.codecs.opus import OpusDecoder, OpusEncoder, rate_for
from sipsimple.media.errors import CodecUnavailable
from sipsimple.media.libraries import available_codecs, library, why_missing
from sipsimple.media.stream import StreamConfig

MEMORY = [("opus", 8000), ("opus", 16000), ("opus", 48000), ("G722", 16000), ("GSM", 8000)]
MEMORY += [("speex", 8000), ("speex", 16000), ("speex", 32000)]
FEC = {"useinbandfec": "1"}


def found(name: str, rate: int) -> StreamCodec:
    """The codec at a rate; the test is skipped where its library is not installed."""
    if reason := why_missing(name):
        pytest.skip(reason)
    codec = Shelf().find(StreamConfig("127.0.0.1", 9, name, 100, rate, clock_rate=rate if name == "speex" else None))
    assert isinstance(codec, StreamCodec)
    if name == "G722":
        _av().wait()
    return codec


def coders(name: str, rate: int, parameters: str = "") -> tuple[Encoder, Decoder]:
    codec = found(name, rate)
    codec.configure(3, read_parameters(parameters))
    return codec._encoders[3], codec.decoder(3)


def speech(rate: int, seconds: float = 1.0, seed: int = 7) -> np.ndarray:
    """Something like a voice: harmonics of a pitch that wanders, louder and softer, with a little breath."""
    t = np.arange(int(rate * seconds)) / rate
    phase = 2 * np.pi * np.cumsum(130 + 25 * np.sin(2 * np.pi * 1.3 * t)) / rate
    voice = sum(np.sin(n * phase) / n for n in range(1, 12))
    breath = np.random.default_rng(seed).standard_normal(len(t)) * 0.02
    loudness = 0.35 + 0.3 * np.sin(2 * np.pi * 2.1 * t)
    return np.rint(7000 * (voice * loudness + breath)).astype(np.int16)


def tone(rate: int, frequency: float, seconds: float = 1.0) -> np.ndarray:
    return np.rint(8000 * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate)).astype(np.int16)


def frames(samples: np.ndarray, rate: int, ms: int = 20) -> np.ndarray:
    size = rate * ms // 1000
    return samples[: len(samples) // size * size].reshape(-1, size)


def spectra(sound: np.ndarray, rate: int) -> np.ndarray:
    """The magnitudes of the spectrum, every 16 ms."""
    size = rate * 32 // 1000
    windows = np.lib.stride_tricks.sliding_window_view(sound.astype(float), size)[:: size // 2]
    return np.abs(np.fft.rfft(windows * np.hanning(size)))


def likeness(wanted: np.ndarray, got: np.ndarray, rate: int) -> float:
    """The signal to noise ratio of the spectra in dB, at the delay where it is best.

    Of the waveform, a codec for speech keeps less: it does not care for phases.
    """
    size, best = len(wanted) - rate // 10, 0.0
    reference = spectra(wanted[:size], rate)
    for delay in range(0, rate // 30, rate // 2000):
        error = spectra(got[delay:][:size], rate) - reference
        best = max(best, float((reference**2).sum() / (error**2).sum()))
    return 10 * np.log10(best)


def level(samples: np.ndarray) -> float:
    """The power in dB."""
    return float(10 * np.log10(np.mean(samples.astype(float) ** 2) + 1e-9))


def round_trip(name: str, rate: int, sound: np.ndarray, ms: int = 20) -> np.ndarray:
    encoder, decoder = coders(name, rate)
    heard = []
    for frame in frames(sound, rate, ms):
        payload = encoder.encode(frame)
        assert payload
        assert name == "speex" or decoder.duration(payload) == len(frame)
        decoded = decoder.decode(payload)
        assert decoded is not None
        assert decoded.dtype == np.int16
        assert decoded.min() > -32768
        heard.append(decoded)
    return np.concatenate(heard)


LIKENESS = {"opus": 20, "G722": 35, "GSM": 16, "speex": 20}


@pytest.mark.parametrize(("name", "rate"), MEMORY)
def test_speech_survives(name, rate):
    sound = speech(rate, 2.0)
    heard = round_trip(name, rate, sound)
    assert likeness(sound, heard, rate) > LIKENESS[name]
    assert level(heard) == pytest.approx(level(sound), abs=1)


@pytest.mark.parametrize(("name", "rate"), MEMORY)
@pytest.mark.parametrize("ms", [20, 40, 60])
def test_packets_of_several_frames(name, rate, ms):
    sound = tone(rate, 440, 1.2)
    heard = round_trip(name, rate, sound, ms)
    assert level(heard[rate // 2 :]) == pytest.approx(level(sound), abs=1)
    spectrum = np.abs(np.fft.rfft(heard[-rate // 2 :].astype(float)))
    assert 2 * int(spectrum.argmax()) == pytest.approx(440, abs=4)


def test_g722_is_that_of_ffmpeg_bit_by_bit():
    """Our coders are contexts of libavcodec; what a fresh one of theirs says must be the same, packet by packet."""
    encoder, decoder = coders("G722", 16000)
    sound = speech(16000)
    payloads = [encoder.encode(frame) for frame in frames(sound, 16000)]
    assert {len(payload) for payload in payloads} == {160}
    import av

    whole = av.CodecContext.create("g722", "r")
    whole.sample_rate, whole.layout = 16000, "mono"
    (theirs,) = whole.decode(av.Packet(b"".join(payloads)))
    ours = np.concatenate([decoder.decode(payload) for payload in payloads])
    assert (ours == np.frombuffer(theirs.planes[0], np.int16, theirs.samples)).all()


@pytest.mark.parametrize(
    ("mixer", "rate"), [(8000, 8000), (11025, 12000), (16000, 16000), (32000, 48000), (44100, 48000)]
)
def test_opus_runs_at_the_rate_of_the_mixer(mixer, rate):
    assert rate_for(mixer) == rate
    assert Shelf().find(StreamConfig("127.0.0.1", 9, "OPUS", 96, mixer)).sample_rate == rate


def test_a_lost_opus_packet_is_had_from_the_next_one():
    """RFC 6716 2.1.7: with FEC the lost frame is much nearer to what was said than what the decoder makes up."""
    encoder = OpusEncoder(16000, FEC)
    encoder.expect_loss(0.3)
    sound = speech(16000, 3.0)
    payloads = [encoder.encode(frame) for frame in frames(sound, 16000)]
    told = {True: [], False: []}
    clean = OpusDecoder(16000)
    wanted = [clean.decode(payload) for payload in payloads]
    for uses_fec, errors in told.items():
        decoder = OpusDecoder(16000)
        for number, payload in enumerate(payloads[:-1]):
            if number % 10 == 9:
                made = decoder.recover(payloads[number + 1], 320) if uses_fec else decoder.conceal(320)
                assert made is not None
                assert len(made) == 320
                errors.append(level(made.astype(int) - wanted[number]))
            else:
                decoder.decode(payload)
    assert np.mean(told[True]) < np.mean(told[False]) - 3


def gained(payloads: list[bytes]) -> float:
    """How much it changes to have the following packet, when one in five is missing."""
    with_next, without, difference = OpusDecoder(16000), OpusDecoder(16000), []
    for number, payload in enumerate(payloads[:-1]):
        if number % 5 == 4:
            recovered = with_next.recover(payloads[number + 1], 320).astype(int)
            difference.append(np.abs(recovered - without.conceal(320)).mean())
        else:
            with_next.decode(payload)
            without.decode(payload)
    return float(np.mean(difference))


def test_the_encoder_repeats_nothing_when_nobody_wants_it_or_nothing_is_lost():
    def sent(parameters: dict[str, str], loss: float) -> list[bytes]:
        encoder = OpusEncoder(16000, parameters)
        for _ in range(40):
            encoder.expect_loss(loss)
        return [encoder.encode(frame) for frame in frames(speech(16000, 2.0), 16000)]

    assert gained(sent(FEC, 0.3)) > 100
    assert gained(sent({}, 0.3)) == 0
    assert gained(sent(FEC, 0.0)) == 0


def test_what_the_remote_asks_for_is_obeyed():
    sound = frames(speech(48000, 2.0), 48000)

    def octets(text: str) -> float:
        encoder = OpusEncoder(48000, read_parameters(text))
        return sum(len(encoder.encode(frame)) for frame in sound) / len(sound)

    assert octets("maxaveragebitrate=12000") < 45
    assert octets("") > 80
    cbr = OpusEncoder(48000, read_parameters("cbr=1"))
    assert len({len(cbr.encode(frame)) for frame in sound}) == 1
    high = np.stack([frame + 3000 * (-1) ** np.arange(len(frame)) for frame in sound]).astype(np.int16)
    narrow, decoder = OpusEncoder(48000, read_parameters(" MaxPlaybackRate = 8000 ")), OpusDecoder(48000)
    heard = np.concatenate([decoder.decode(narrow.encode(frame)) for frame in high])[48000:]
    spectrum = np.abs(np.fft.rfft(heard.astype(float)))
    assert spectrum[len(spectrum) // 5 :].max() < spectrum.max() / 300


def test_silence_is_not_sent_when_the_remote_wants_it_so():
    encoder = OpusEncoder(16000, {"usedtx": "1"})
    sound = [*frames(speech(16000, 1.0), 16000), *np.zeros((100, 320), np.int16)]
    sent = [bool(encoder.encode(frame)) for frame in sound]
    assert all(sent[:50])
    assert sum(sent[-50:]) < 8
    assert all(OpusEncoder(16000, {}).encode(frame) for frame in np.zeros((50, 320), np.int16))


def test_stereo_is_heard_as_mono():
    encoder = OpusEncoder(48000, {})
    stereo = encoder._lib.encoder_create(48000, 2, 2049, None)
    wave = tone(48000, 440, 0.5)
    both = np.stack([wave, wave], axis=1).astype(np.int16)
    decoder, heard = OpusDecoder(48000), []
    for start in range(0, len(wave), 960):
        block = np.ascontiguousarray(both[start : start + 960])
        size = encoder._lib.encode(stereo, block.ctypes.data, 960, encoder._output_address, 1275)
        heard.append(decoder.decode(encoder._output.raw[:size]))
    encoder._lib.encoder_destroy(stereo)
    assert level(np.concatenate(heard)[9600:]) == pytest.approx(level(wave), abs=1)


DECODERS = dict.fromkeys(MEMORY)


@pytest.mark.parametrize(("name", "rate"), MEMORY)
@settings(max_examples=60, deadline=None)
@given(payload=st.binary(min_size=1, max_size=1500))
def test_any_bytes_decode_to_bounded_sound_or_to_nothing(name, rate, payload):
    if DECODERS[name, rate] is None:
        DECODERS[name, rate] = coders(name, rate)[1]
    decoder = DECODERS[name, rate]
    assert 0 <= decoder.duration(payload) <= max(rate * 0.12, 2 * len(payload), 160 * (len(payload) // 33))
    decoded = decoder.decode(payload)
    if decoded is not None:
        assert decoded.dtype == np.int16
        assert 0 < len(decoded) <= 3000 + rate * 0.12
        assert decoded.min() > -32768
    for made in (decoder.recover(payload, rate // 50), decoder.conceal(rate // 50)):
        assert made is None or (len(made) == rate // 50 and made.min() > -32768)


def test_the_decoder_stops_making_up_what_nobody_sends():
    decoder = OpusDecoder(16000)
    encoder = OpusEncoder(16000, {})
    for frame in frames(speech(16000), 16000):
        decoder.decode(encoder.encode(frame))
    made = [decoder.conceal(320) for _ in range(60)]
    assert made[0] is not None
    assert made[-1] is None


def test_available_codecs_are_those_that_the_shelf_finds():
    for name in available_codecs():
        codec = Shelf().find(StreamConfig("127.0.0.1", 9, name.swapcase(), 100, 16000, clock_rate=16000))
        assert codec.name == name


@pytest.mark.parametrize("name", ["iLBC", "G.729", ""])
def test_other_codecs_are_refused_with_the_reason(name):
    with pytest.raises(CodecUnavailable) as refused:
        Shelf().find(StreamConfig("127.0.0.1", 9, name, 100, 16000))
    assert why_missing(name) in str(refused.value)


def test_a_missing_library_is_told(monkeypatch):
    monkeypatch.setattr("sipsimple.media.libraries._bundled", lambda name: [])
    monkeypatch.setattr("sipsimple.media.libraries._SYSTEM_NAMES", {"opus": {}, "speex": {}, "gsm": {}})
    monkeypatch.setattr("sipsimple.media.libraries.find_library", lambda name: None)
    library.cache_clear()
    why_missing.cache_clear()
    try:
        assert "libopus" in why_missing("opus")
        assert "opus" not in available_codecs()
    finally:
        library.cache_clear()
        why_missing.cache_clear()


@given(st.text())
def test_parameters_are_read_whatever_the_text(text):
    assert len(read_parameters(text)) <= 32


def test_parameters():
    assert read_parameters("useinbandfec=1; MaxPlaybackRate = 8000;;stereo") == {
        "useinbandfec": "1",
        "maxplaybackrate": "8000",
        "stereo": "",
    }
