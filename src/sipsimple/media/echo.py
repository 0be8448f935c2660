"""Takes the echo of the loudspeaker, and the noise of the room, out of what the microphone records.

The work is done by the audio processing of WebRTC, which comes with `livekit`: it finds the delay of the echo by
itself, and needs no clock common to both devices. That package is an extra, because it is larger than all the rest; it
is loaded in the thread that opens devices. Gain control is off unless asked for: it raises what is left of the echo.
"""

from __future__ import annotations

import importlib
import logging
from typing import Any, Final

import numpy as np
import numpy.typing as npt

log = logging.getLogger(__name__)

Samples = npt.NDArray[np.int16]

PIECES_PER_SECOND: Final = 100  # the library takes 10 ms at a time
EXPECTED_DELAY: Final = 100  # ms from `heard` to `clean`; the library finds out what it really is
ADVICE: Final = "install the extra, pip install 'sipsimple[aec]', or use a headset"


class EchoCanceller:
    """Learns from every frame that is played what its echo is like; both methods belong to one thread."""

    def __init__(self, sample_rate: int, gain_control: bool = False) -> None:
        """Load the library, which takes some tenths of a second. Raises ImportError, OSError and RuntimeError."""
        self._rtc: Any = importlib.import_module("livekit.rtc")
        self._processing = self._rtc.AudioProcessingModule(
            echo_cancellation=True, noise_suppression=True, high_pass_filter=True, auto_gain_control=gain_control
        )
        self._rate = sample_rate
        self._piece = sample_rate // PIECES_PER_SECOND
        self._processing.set_stream_delay_ms(EXPECTED_DELAY)
        self._failed = False

    def heard(self, frame: Samples) -> None:
        """Take note of a frame for the loudspeaker."""
        self._process(frame, self._processing.process_reverse_stream)

    def clean(self, frame: Samples) -> None:
        """Take the echo out of a frame of the microphone, in place."""
        cleaned = self._process(frame, self._processing.process_stream)
        if cleaned is not None:
            frame[:] = cleaned

    def _process(self, frame: Samples, process: Any) -> Samples | None:
        """The frame as the library leaves it; None when it cannot, which does not end the call."""
        if self._failed:
            return None
        piece = self._piece
        result = np.empty_like(frame)
        try:
            for at in range(0, len(frame), piece):
                samples = self._rtc.AudioFrame(bytearray(frame[at : at + piece].tobytes()), self._rate, 1, piece)
                process(samples)
                result[at : at + piece] = np.frombuffer(samples.data, np.int16)
        except RuntimeError:
            self._failed = True
            log.exception("echo is not cancelled any more: use a headset, or open the devices again")
            return None
        return result


def echo_canceller(sample_rate: int, tail: int, gain_control: bool = False) -> EchoCanceller | None:
    """Make an echo canceller, or None: with no tail (ms) none is wanted, and there may be none for this."""
    if not tail:
        return None
    if sample_rate % PIECES_PER_SECOND:
        log.warning("echo is not cancelled at %d Hz: choose a multiple of %d", sample_rate, PIECES_PER_SECOND)
        return None
    try:
        return EchoCanceller(sample_rate, gain_control)
    except ImportError:
        log.info("echo is not cancelled: %s", ADVICE)
    except (OSError, RuntimeError) as error:
        log.warning("echo is not cancelled, as its library does not work (%s): %s", error, ADVICE)
    return None
