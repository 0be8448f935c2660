"""WAV files: every encoding that is read, errors that say what is wrong, headers that survive a crash."""

import struct
import wave

import numpy as np
import pytest

from sipsimple.media.errors import RecordingError, WaveFileUnreadable, WaveFormatError
from sipsimple.media.wave import RateConverter, WaveReader, WaveWriter


def riff(format, data, data_size=None, before=b""):
    chunks = b"fmt " + struct.pack("<I", len(format)) + format + before
    chunks += b"data" + struct.pack("<I", len(data) if data_size is None else data_size) + data
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WAVE" + chunks


def fmt(encoding, bits, channels=1, rate=8000, extra=b""):
    frame = channels * bits // 8
    return struct.pack("<HHIIHH", encoding, channels, rate, rate * frame, frame, bits) + extra


def read_all(path):
    reader = WaveReader(str(path))
    try:
        return reader.read(100_000).tolist()
    finally:
        reader.close()


@pytest.fixture
def wav(tmp_path):
    def write(content):
        path = tmp_path / "sound.wav"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize(
    ("encoding", "bits", "data", "samples"),
    [
        (1, 8, bytes([128, 255, 0]), [0, 127 << 8, -32768]),
        (1, 16, struct.pack("<3h", 0, 32767, -32768), [0, 32767, -32768]),
        (1, 24, bytes([255, 1, 0, 0, 0, 128]), [1, -32768]),
        (1, 32, struct.pack("<2i", 5 << 16, -(2**31)), [5, -32768]),
        (3, 32, struct.pack("<4f", 0.0, 1.0, -9.0, float("nan")), [0, 32767, -32767, 0]),
        (3, 64, struct.pack("<3d", 0.5, -1.0, float("inf")), [16384, -32767, 32767]),
        (7, 8, bytes([0xFF, 0x80, 0x00]), [0, 32124, -32124]),
        (6, 8, bytes([0xD5, 0xAA, 0x2A]), [8, 32256, -32256]),
    ],
)
def test_encodings_become_16_bit_samples(wav, encoding, bits, data, samples):
    assert read_all(wav(riff(fmt(encoding, bits), data))) == samples


def test_channels_are_averaged(wav):
    data = struct.pack("<6h", 100, 300, -32768, -32768, 32767, 32767)
    assert read_all(wav(riff(fmt(1, 16, channels=2), data))) == [200, -32768, 32767]


def test_an_extensible_header_names_the_encoding_inside(wav):
    extra = struct.pack("<HHIH14s", 22, 16, 4, 1, b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71")
    assert read_all(wav(riff(fmt(0xFFFE, 16, extra=extra), struct.pack("<h", 7)))) == [7]


def test_chunks_before_the_sound_are_passed_over(wav):
    odd = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    assert read_all(wav(riff(fmt(1, 16), struct.pack("<h", 7), before=odd))) == [7]


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_a_streamed_file_is_read_to_its_end(wav, size):
    assert read_all(wav(riff(fmt(1, 16), struct.pack("<2h", 7, 8), data_size=size))) == [7, 8]


def test_a_cut_off_file_gives_what_is_there(wav):
    assert read_all(wav(riff(fmt(1, 16), b"\x07\x00\x08", data_size=1000))) == [7]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not a WAV file"),
        (b"ID3\x03 and so on, a song", "is not a WAV file"),
        (b"RF64\xff\xff\xff\xffWAVE", "RF64"),
        (b"RIFF\x04\x00\x00\x00WAVE", "cut off"),
        (riff(b"", b"")[:-4], "cut off"),
        (riff(b"", b"\x00"), "does not describe"),
        (riff(fmt(85, 16), b""), "encoding 85"),
        (riff(fmt(1, 12), b""), "12 bits"),
        (riff(fmt(1, 16, channels=0), b""), "0 channels"),
        (riff(fmt(1, 16, channels=33), b""), "33 channels"),
        (riff(fmt(1, 16, rate=0), b""), "sample rate of 0"),
        (b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 70, "first 64 chunks"),
    ],
)
def test_a_file_that_cannot_be_played_says_why(wav, content, reason):
    path = wav(content)
    with pytest.raises(WaveFormatError, match=reason) as caught:
        WaveReader(str(path))
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_directory_are_unreadable(tmp_path):
    with pytest.raises(WaveFileUnreadable, match="No such file"):
        WaveReader(str(tmp_path / "none.wav"))
    with pytest.raises(WaveFileUnreadable, match="is no file"):
        WaveReader(str(tmp_path))
    with pytest.raises(WaveFileUnreadable, match="null"):
        WaveReader("a\0b")


def test_what_was_written_is_read_back(tmp_path):
    path = str(tmp_path / "out.wav")
    samples = np.arange(-16_000, 16_000, dtype=np.int16)
    writer = WaveWriter(path, 16_000)
    writer.write(samples[:100])
    writer.write(samples[100:])
    writer.close()
    assert read_all(path) == samples.tolist()
    with wave.open(path) as other:
        assert (other.getnchannels(), other.getsampwidth(), other.getframerate()) == (1, 2, 16_000)
        assert other.getnframes() == len(samples)


def test_the_header_is_true_before_the_file_is_closed(tmp_path):
    path = tmp_path / "out.wav"
    writer = WaveWriter(str(path), 8000)
    writer.write(np.full(50, 3, np.int16))
    copy = tmp_path / "crash.wav"
    copy.write_bytes(path.read_bytes())
    writer.close()
    with wave.open(str(copy)) as other:
        assert other.getnframes() == 50


def test_a_file_that_cannot_be_created_says_why(tmp_path):
    with pytest.raises(RecordingError, match="No such file or directory"):
        WaveWriter(str(tmp_path / "no" / "out.wav"), 8000)


def test_a_full_file_is_refused_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("sipsimple.media.wave.MAX_DATA_SIZE", 150)
    path = str(tmp_path / "out.wav")
    writer = WaveWriter(path, 8000)
    writer.write(np.ones(70, np.int16))
    with pytest.raises(RecordingError, match="4 GiB"):
        writer.write(np.ones(70, np.int16))
    writer.close()
    assert len(read_all(path)) == 70


@pytest.mark.parametrize(
    ("rate_in", "rate_out"),
    [(8000, 16000), (44100, 16000), (11025, 48000), (11111, 8000), (48000, 8000), (384000, 8000)],
)
def test_rates_are_converted_in_blocks_of_any_length(rate_in, rate_out):
    time = np.arange(rate_in) / rate_in
    signal = np.rint(10_000 * np.sin(2 * np.pi * 440 * time)).astype(np.int16)
    converter = RateConverter(rate_in, rate_out)
    pieces = [converter.convert(piece) for piece in np.array_split(signal, 37)] + [converter.flush()]
    result = np.concatenate(pieces)
    assert abs(len(result) - rate_out) <= rate_out // 50
    spectrum = np.abs(np.fft.rfft(result[:rate_out].astype(float) * np.hanning(len(result[:rate_out]))))
    assert abs(int(spectrum.argmax()) - 440) <= 1
    middle = result[rate_out // 4 : rate_out // 2].astype(float)
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(10_000 / np.sqrt(2), rel=0.02)


def test_the_same_rate_changes_nothing():
    samples = np.arange(1000, dtype=np.int16)
    converter = RateConverter(8000, 8000)
    assert (converter.convert(samples) == samples).all()
    assert not converter.flush().size
