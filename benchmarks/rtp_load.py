"""Many callers in one process: SIP calls that stand, and a packet of PCMU for each of them every 20 ms.

All streams leave by one socket and come back to it, so that one system call (`sendmmsg`, `recvmmsg`) moves hundreds of
packets: what is measured is the server, and the callers fit into less than a core. Linux only.
"""

from __future__ import annotations

import ctypes
import os
import re
import select
import socket
import time
from dataclasses import dataclass

import numpy as np

PACKET = 172
BATCH = 512
BUFFER = 256
FRAME = 0.02
SSRC = 0x5EED0000
RETRANSMIT = 0.5

_libc = ctypes.CDLL(None, use_errno=True)


class _IOVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("iov", ctypes.POINTER(_IOVec)),
        ("iov_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    _fields_ = (("header", _Header), ("length", ctypes.c_uint))


class Datagrams:
    """Room for many datagrams of one socket: rows of `data`, with addresses in rows of `names`."""

    def __init__(self, count: int, size: int) -> None:
        self.data = np.zeros((count, size), np.uint8)
        self.names = np.zeros((count, 16), np.uint8)
        self.messages = (_Message * count)()
        self._vectors = (_IOVec * count)()
        for index in range(count):
            self._vectors[index] = _IOVec(self.data[index].ctypes.data, size)
            header = self.messages[index].header
            header.name, header.name_length = self.names[index].ctypes.data, 16
            header.iov = ctypes.pointer(self._vectors[index])
            header.iov_count = 1

    def address(self, index: int, host: str, port: int) -> None:
        """Set where a row goes to."""
        name = socket.AF_INET.to_bytes(2, "little") + port.to_bytes(2, "big") + socket.inet_aton(host) + bytes(8)
        self.names[index] = np.frombuffer(name, np.uint8)

    def send(self, sock: socket.socket, first: int, count: int) -> int:
        """Send rows; returns how many went out."""
        pointer = ctypes.byref(self.messages, first * ctypes.sizeof(_Message))
        return max(0, int(_libc.sendmmsg(sock.fileno(), pointer, count, 0)))

    def receive(self, sock: socket.socket) -> int:
        """Fill rows from the first one on; returns how many came."""
        return max(0, int(_libc.recvmmsg(sock.fileno(), self.messages, len(self.messages), socket.MSG_DONTWAIT, None)))


@dataclass
class Heard:
    """What came back in one measurement, over all calls."""

    calls: int
    sent: int
    received: int
    silent: int
    gap_p999: float
    """Seconds between two packets of a stream, exceeded by one in a thousand."""

    @property
    def loss(self) -> float:
        """The part of the packets that did not come back, or came without sound."""
        return max(0.0, 1 - (self.received - self.silent) / max(1, self.sent))


class Callers:
    """Calls to one server, each with a stream."""

    def __init__(self, server_port: int, capacity: int, talkers: int | None = None) -> None:
        """`talkers` of the callers say something, all with None; the others send silence."""
        self.count = 0
        self._server = ("127.0.0.1", server_port)
        self._sip = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sip.bind(("127.0.0.1", 0))
        self._rtp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._rtp.bind(("127.0.0.1", 0))
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            for sock in (self._sip, self._rtp):
                sock.setsockopt(socket.SOL_SOCKET, option, 1 << 23)
        self._out = Datagrams(capacity, PACKET)
        self._in = Datagrams(BATCH, BUFFER)
        self._rows = np.full(65536, -1, np.int64)  # the call of each port of the server
        self._talkers = capacity if talkers is None else talkers
        self._dialogs: dict[str, tuple[str, str]] = {}
        self._sequence = np.zeros(capacity, np.uint16)
        self._timestamp = np.zeros(capacity, np.uint32)
        self._run = f"{os.getpid()}-{time.time_ns()}"

    # -- signalling ---------------------------------------------------------------------------------------------------

    def call(self, wanted: int, rate: float = 50.0) -> bool:
        """Make calls until so many stand; False when one is not answered. The streams run meanwhile."""
        waiting: dict[int, tuple[float, float]] = {}
        number = self.count
        now = started = due = time.monotonic()
        first = self.count
        while self.count < wanted:
            now = time.monotonic()
            while number < wanted and number - first < (now - started) * rate:
                waiting[number] = (now, now)
                self._invite(number)
                number += 1
            for call, (since, last) in list(waiting.items()):
                if now - since > 8:
                    return False
                if now - last > RETRANSMIT:
                    waiting[call] = (since, now)
                    self._invite(call)
            self._answers(waiting)
            if now >= due:
                self._send()
                due = max(due + FRAME, now - 5 * FRAME)
            while self._in.receive(self._rtp):
                pass
            select.select([self._sip, self._rtp], [], [], max(0.0, min(due, now + 0.005) - time.monotonic()))
        return True

    def _id(self, call: int) -> str:
        return f"{call}-{self._run}"

    def _invite(self, call: int) -> None:
        port = self._rtp.getsockname()[1]
        body = (
            f"v=0\r\no=- {call + 1} 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
        )
        self._request(call, "INVITE", 1, "", "", f"Content-Type: application/sdp\r\n{self._contact()}", body)

    def _contact(self) -> str:
        return f"Contact: <sip:load@127.0.0.1:{self._sip.getsockname()[1]}>\r\n"

    def _request(
        self, call: int, method: str, sequence: int, to_tag: str, target: str, headers: str = "", body: str = ""
    ) -> None:
        identity = self._id(call)
        local = self._sip.getsockname()[1]
        target = target or f"sip:service{call}@127.0.0.1:{self._server[1]}"
        text = (
            f"{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{local};branch=z9hG4bK-{method}-{identity}\r\n"
            f"From: <sip:load@127.0.0.1>;tag={identity}\r\nTo: <sip:service{call}@127.0.0.1>{to_tag}\r\n"
            f"Call-ID: {identity}\r\nCSeq: {sequence} {method}\r\nMax-Forwards: 70\r\n{headers}"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        )
        self._sip.sendto(text.encode(), self._server)

    def _answers(self, waiting: dict[int, tuple[float, float]]) -> None:
        while select.select([self._sip], [], [], 0)[0]:
            text = self._sip.recv(8192).decode(errors="replace")
            status = re.match(r"SIP/2.0 (\d+)", text)
            if status is None or int(status[1]) < 200 or "INVITE" not in text:
                continue
            call = int(re.search(r"(?mi)^Call-ID:\s*(\d+)-", text)[1])  # type: ignore[index]
            tag = re.search(r"(?mi)^(?:To|t):.*(;tag=[^\s;]+)", text)
            contact = re.search(r"(?mi)^(?:Contact|m):\s*<([^>]+)>", text)
            media = re.search(r"(?m)^m=audio (\d+)", text)
            if tag is None or contact is None or media is None or int(status[1]) != 200:
                continue
            self._request(call, "ACK", 1, tag[1], contact[1])
            if waiting.pop(call, None) is not None:
                self._dialogs[self._id(call)] = (tag[1], contact[1])
                self._stream(int(media[1]))

    def hang_up(self) -> None:
        """End all calls."""
        for attempt in range(3):
            for index, (identity, (tag, contact)) in enumerate(self._dialogs.items()):
                self._request(int(identity.partition("-")[0]), "BYE", 2, tag, contact)
                if index % 50 == 49:
                    time.sleep(0.05)
            time.sleep(0.3 + 0.2 * attempt)
        self._sip.close()
        self._rtp.close()

    # -- media --------------------------------------------------------------------------------------------------------

    def _stream(self, port: int) -> None:
        row = self.count
        self._out.address(row, "127.0.0.1", port)
        self._rows[port] = row
        packet = self._out.data[row]
        packet[:2] = (0x80, 0)
        packet[8:12] = np.frombuffer((SSRC + row).to_bytes(4, "big"), np.uint8)
        # Loud, alternating, and never the opposite of another; or the silence of mu-law.
        packet[12:] = (0x9A if row % 2 else 0xA2) if row < self._talkers else 0xFF
        packet[12::4] ^= 0x80 if row < self._talkers else 0
        self.count += 1

    def _send(self) -> None:
        count = self.count
        rows = self._out.data[:count]
        self._sequence[:count] += 1
        self._timestamp[:count] += 160
        rows[:, 2:4] = self._sequence[:count].astype(">u2").view(np.uint8).reshape(-1, 2)
        rows[:, 4:8] = self._timestamp[:count].astype(">u4").view(np.uint8).reshape(-1, 4)
        first = 0
        while first < count:
            sent = self._out.send(self._rtp, first, min(BATCH, count - first))
            if sent == 0:
                select.select([], [self._rtp], [], 0.01)
            first += sent

    def measure(self, seconds: float, warm_up: float = 2.0) -> Heard:
        """Keep all streams running; count what comes back after `warm_up` seconds."""
        ticks, counted = int((seconds + warm_up) / FRAME), int(warm_up / FRAME)
        last = np.zeros(self.count)
        gaps: list[np.ndarray] = []
        sent = received = silent = 0
        started = time.monotonic()
        for tick in range(ticks):
            due = started + tick * FRAME
            while (left := due - time.monotonic()) > 0:
                select.select([self._rtp], [], [], left)
                more = self._drain(last)
                if tick > counted:
                    received, silent = received + more[0], silent + more[1]
                    gaps.append(more[2])
            self._send()
            if tick >= counted:
                sent += self.count
        return Heard(self.count, sent - self.count, received, silent, _percentile(gaps))

    def _drain(self, last: np.ndarray) -> tuple[int, int, np.ndarray]:
        """How many packets came, how many of them were silent, and the times since the last one of their stream."""
        count = self._in.receive(self._rtp)
        if not count:
            return 0, 0, np.zeros(0)
        now = time.monotonic()
        ports = self._in.names[:count, 2].astype(np.int64) << 8 | self._in.names[:count, 3]
        rows = self._rows[ports]
        known = rows >= 0
        rows = rows[known]
        data = self._in.data[:count][known]
        quiet = int((np.abs((data[:, 12:PACKET] & 0x7F).astype(np.int16) - 0x7F).max(axis=1) < 8).sum())
        gaps = now - last[rows]
        last[rows] = now
        return len(rows), quiet, gaps[gaps < 5]


def _percentile(gaps: list[np.ndarray]) -> float:
    every = np.concatenate(gaps) if gaps else np.zeros(1)
    return float(np.percentile(every, 99.9)) if every.size else 0.0
