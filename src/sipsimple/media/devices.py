"""Sound devices, through miniaudio; the only module that knows it, and it loads it when a device is first asked for.

A device has a clock and a thread of its own. Its callbacks exchange samples with the tick through a `Ring`, which
tolerates that the two clocks differ: it drops samples when they pile up, and when they ran out it gives silence until
some have gathered again.

Names: `system_default` is the default device, or none when the system has none; None is no device at all. A mixer
without devices needs nothing from here, because its clock is the tick.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .commands import SYSTEM_DEFAULT, DeviceNames, RealDevices
from .echo import EchoCanceller, echo_canceller
from .errors import DeviceError, DeviceNotFound

Samples = npt.NDArray[np.int16]

PERIOD: Final = 20  # ms, of the device's callbacks
# In frames of 20 ms: what a ring gathers before it is read, and what it holds at most before samples are dropped.
RING_TARGET: Final = 2
RING_MAX: Final = 6
RING_SIZE: Final = 10
# A device whose callbacks stop for so long is gone.
STALL_TIMEOUT: Final = 3.0  # seconds
# ALSA's null plug-in takes any amount of samples at once, so that its callbacks would occupy a core.
NOT_A_DEVICE: Final = "Discard all samples"


class Ring:
    """Samples from one thread to another; one side alone writes, the other alone reads."""

    def __init__(self, frame_size: int) -> None:
        self._samples: Samples = np.zeros(RING_SIZE * frame_size, np.int16)
        self._target = RING_TARGET * frame_size
        self._max = RING_MAX * frame_size
        self._flowing = False
        self.written = 0  # changed by the writer only
        self.taken = 0  # changed by the reader only

    def write(self, samples: Samples) -> None:
        """Append; what does not fit is dropped."""
        size = len(self._samples)
        samples = samples[: size - (self.written - self.taken)]
        at = self.written % size
        first = samples[: size - at]
        self._samples[at : at + len(first)] = first
        self._samples[: len(samples) - len(first)] = samples[len(first) :]
        self.written += len(samples)

    def read(self, count: int) -> Samples:
        """Take `count` samples, silence where there are none."""
        result: Samples = np.zeros(count, np.int16)
        waiting = self.written - self.taken
        if waiting > max(self._max, count):
            self.taken += waiting - max(self._target, count)
            waiting = self.written - self.taken
        if not self._flowing and waiting < max(self._target, count):
            return result
        self._flowing = waiting >= count
        size = len(self._samples)
        at = self.taken % size
        available = min(count, waiting)
        first = self._samples[at : min(at + available, size)]
        result[: len(first)] = first
        result[len(first) : available] = self._samples[: available - len(first)]
        self.taken += available
        return result


class SoundDevices:
    """The open devices of one mixer: one for each direction, or none."""

    def __init__(self, frame_size: int) -> None:
        self.real = RealDevices(None, None)
        self._echo: EchoCanceller | None = None
        self._capture: Any = None
        self._playback: Any = None
        self._from_capture = Ring(frame_size)
        self._to_playback = Ring(frame_size)
        self._callbacks = [0, 0]  # of the capture and the playback device
        self._seen = [0, 0]
        self._seen_at = 0.0

    def open(
        self,
        input: str | None,
        output: str | None,
        sample_rate: int,
        backend: str | None = None,
        ec_tail: int = 0,
        gain_control: bool = False,
    ) -> None:
        """Open and start the devices; slow. Raises DeviceError, and then nothing stays open.

        Where there are both, and `ec_tail` (ms) is not 0, the echo of one in the other is cancelled.
        """
        try:
            playback, capture = self._find(input, output, backend)
            self._open(playback, capture, sample_rate, backend)
        except DeviceError:
            self.close()
            raise
        self.real = RealDevices(_name(capture), _name(playback))
        if capture is not None and playback is not None:
            self._echo = echo_canceller(sample_rate, ec_tail, gain_control)

    def _find(
        self, input: str | None, output: str | None, backend: str | None
    ) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        if input is None and output is None:
            return None, None
        playbacks, captures = _system_devices(backend)
        return _find(output, playbacks), _find(input, captures)

    def _open(
        self, playback: dict[str, Any] | None, capture: dict[str, Any] | None, rate: int, backend: str | None
    ) -> None:
        import miniaudio

        shape = {"nchannels": 1, "sample_rate": rate, "buffersize_msec": PERIOD, "backends": _backends(backend)}
        for info in (playback, capture):
            if info is None:
                continue
            try:
                if info is playback:
                    self._playback = miniaudio.PlaybackDevice(device_id=info["id"], **shape)
                    self._playback.start(_started(self._play()))
                else:
                    self._capture = miniaudio.CaptureDevice(device_id=info["id"], **shape)
                    self._capture.start(_started(self._record()))
            except miniaudio.MiniaudioError as error:
                raise DeviceError(info["name"], _reason(error)) from error

    def _play(self) -> Generator[bytes, int, None]:
        """Give the playback device what the tick wrote; runs in the device's thread."""
        wanted = yield b""
        while True:
            self._callbacks[1] += 1
            wanted = yield self._to_playback.read(wanted).tobytes()

    def _record(self) -> Generator[None, bytes, None]:
        """Take what the capture device recorded; runs in the device's thread."""
        while True:
            data = yield
            self._callbacks[0] += 1
            self._from_capture.write(np.frombuffer(data, np.int16))

    @property
    def is_open(self) -> bool:
        return self._capture is not None or self._playback is not None

    def read(self, frame: Samples) -> None:
        """Fill the frame from the capture device."""
        if self._capture is not None:
            frame[:] = self._from_capture.read(len(frame))
            if self._echo is not None:
                self._echo.clean(frame)

    def write(self, frame: Samples) -> None:
        """Hand the frame to the playback device."""
        if self._playback is not None:
            self._to_playback.write(frame)
            if self._echo is not None:
                self._echo.heard(frame)

    def stalled(self, now: float) -> str | None:
        """The name of a device whose callbacks have stopped, None while all goes well."""
        callbacks = list(self._callbacks)
        names = (self.real.input, self.real.output)
        progress = zip(names, self._seen, callbacks, strict=True)
        stuck = [name for name, before, after in progress if name is not None and before == after]
        if not stuck or not self._seen_at:
            self._seen, self._seen_at = callbacks, now
            return None
        return stuck[0] if now - self._seen_at > STALL_TIMEOUT else None

    def close(self) -> None:
        """Stop the devices; waits for their callbacks to end."""
        capture, playback = self._capture, self._playback
        self._capture = self._playback = self._echo = None
        self.real = RealDevices(None, None)
        for device in (capture, playback):
            if device is not None:
                device.close()


def list_devices(backend: str | None = None) -> DeviceNames:
    """Name the devices of the system; none when it has no sound at all. Slow."""
    try:
        playbacks, captures = _system_devices(backend)
    except DeviceError:
        return DeviceNames((), ())
    return DeviceNames(tuple(info["name"] for info in captures), tuple(info["name"] for info in playbacks))


def _system_devices(backend: str | None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    try:
        import miniaudio
    except ImportError as error:
        raise DeviceError(SYSTEM_DEFAULT, f"miniaudio cannot be loaded ({error}): reinstall it") from error

    class Devices(miniaudio.Devices):  # type: ignore[misc]
        def _get_info(self, device_type: Any, device_info: Any) -> dict[str, Any]:
            # miniaudio knows which device is the default one, and does not say so.
            return {**super()._get_info(device_type, device_info), "default": bool(device_info.isDefault)}

    try:
        devices = Devices(_backends(backend))
        found = devices.get_playbacks(), devices.get_captures()
    except miniaudio.MiniaudioError as error:
        raise DeviceError(SYSTEM_DEFAULT, _reason(error)) from error
    if devices.backend == "Null" and backend is None:
        return [], []
    playbacks, captures = map(_usable, found)
    return playbacks, captures


def _usable(devices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out what is no device, and put the default one first."""
    real = [info for info in devices if not info["name"].startswith(NOT_A_DEVICE)]
    return sorted(real, key=lambda info: not info.get("default"))


def _name(info: dict[str, Any] | None) -> str | None:
    return None if info is None else str(info["name"])


def _find(name: str | None, devices: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Choose the device with this name; the first one is the default."""
    if name is None:
        return None
    if name == SYSTEM_DEFAULT:
        return devices[0] if devices else None
    for info in devices:
        if info["name"] == name:
            return info
    raise DeviceNotFound(name, tuple(info["name"] for info in devices))


def _backends(backend: str | None) -> list[Any] | None:
    if backend is None:
        return None
    import miniaudio

    return [miniaudio.Backend[backend]]


def _started(generator: Generator[Any, Any, None]) -> Generator[Any, Any, None]:
    next(generator)
    return generator


def _reason(error: Exception) -> str:
    return ": ".join(str(part) for part in error.args) or repr(error)
