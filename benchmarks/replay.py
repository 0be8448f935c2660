"""Calls whose packets leave by a plan: what a bad network does to speech, and what an echo server makes of it.

A plan says when each packet leaves, if it does. `replay` has any number of calls follow theirs at once, and takes down
what comes back: the server plays out what it received, by its own clock, and its packets carry that over a network
without faults. The kernel says when they arrived, so that it does not matter when they are looked at. Linux only.
"""

from __future__ import annotations

import random
import re
import select
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

RATE = 8000
FRAME = 160
PTIME = 0.02
ANSWER_TIMEOUT = 10.0
RETRANSMIT = 0.5
TAIL = 0.6
"""Seconds that are listened to after the last packet."""
TIMESTAMPS = 35
"""SO_TIMESTAMPNS of Linux, which Python does not name."""
QUIET = 0xFF
"""The silence of mu-law."""

Octets = npt.NDArray[np.uint8]
Samples = npt.NDArray[np.int16]


class NoAnswer(Exception):
    """The server did not take the call."""


@dataclass(frozen=True)
class Condition:
    """What the network does: parts of 1, seconds, and parts of a million."""

    name: str
    loss: float = 0.0
    burst: float = 1.0
    """How many packets are lost at a time, on average."""
    jitter: float = 0.0
    """Packets arrive up to this much later than the fastest of them, one as likely late as another."""
    overtaking: bool = False
    """A packet that is late may arrive after those behind it; else it holds them up."""
    drift: float = 0.0
    """How much slower the clock of the sender runs."""
    rounds: int = 1
    """How often the speech is said."""

    def plan(self, packets: int, dice: random.Random) -> list[tuple[float, int]]:
        """When which packets arrive, in seconds from the first one, in the order of arrival."""
        lost = self._losses(packets, dice)
        arrivals = []
        front = 0.0
        for number in range(packets):
            at = self.sent_at(number) + dice.uniform(0, self.jitter)
            front = at if self.overtaking else max(front, at)
            if not lost[number]:
                arrivals.append((front, number))
        return sorted(arrivals)

    def sent_at(self, number: int) -> float:
        """When the sender sends a packet."""
        return number * PTIME * (1 + self.drift / 1e6)

    def _losses(self, packets: int, dice: random.Random) -> list[bool]:
        """Two states, good and lost, with the chances to change that make the loss and its bursts (Gilbert)."""
        recover = 1 / self.burst
        fail = self.loss * recover / (1 - self.loss)
        if self.burst == 1:
            return [dice.random() < self.loss for _ in range(packets)]
        losses, lost = [], False
        for _ in range(packets):
            lost = dice.random() >= recover if lost else dice.random() < fail
            losses.append(lost)
        return losses


@dataclass
class Heard:
    """What came back in one call: its samples, and when the first of them left the server, by the clock of `time`."""

    samples: Samples
    began: float


@dataclass
class _Reception:
    packets: dict[int, Octets] = field(default_factory=dict)
    arrivals: dict[int, float] = field(default_factory=dict)


class Call:
    """One call to a server on this machine: SIP and RTP from a socket each."""

    def __init__(self, server_port: int, number: int, payloads: Octets) -> None:
        """`payloads` are the packets, one a row."""
        self._server = ("127.0.0.1", server_port)
        self._sip, self.rtp = _bound(), _bound()
        self.rtp.setsockopt(socket.SOL_SOCKET, TIMESTAMPS, 1)
        self._id = f"{number}-{time.time_ns()}"
        self._payloads = payloads
        self._media = ("127.0.0.1", 0)
        self._dialog = ("", "")
        self._reception = _Reception()

    def establish(self) -> None:
        """Call, and wait for the answer. Raises NoAnswer."""
        body = (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=audio {self.rtp.getsockname()[1]} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
        )
        limit = time.monotonic() + ANSWER_TIMEOUT
        answer = None
        while answer is None:
            if time.monotonic() > limit:
                raise NoAnswer(f"a call was not answered in {ANSWER_TIMEOUT:g} s")
            self._request("INVITE", 1, body)
            answer = self._answer(time.monotonic() + RETRANSMIT)
        tag = re.search(r"(?mi)^(?:To|t):.*(;tag=[^\s;]+)", answer)
        contact = re.search(r"(?mi)^(?:Contact|m):\s*<([^>]+)>", answer)
        media = re.search(r"(?m)^m=audio (\d+)", answer)
        if tag is None or contact is None or media is None:
            raise NoAnswer(f"a call was answered with {answer.splitlines()[0]}")
        self._dialog = (tag[1], contact[1])
        self._media = ("127.0.0.1", int(media[1]))
        self._request("ACK", 1)

    def _answer(self, until: float) -> str | None:
        while select.select([self._sip], [], [], max(0.0, until - time.monotonic()))[0]:
            text = self._sip.recv(8192).decode(errors="replace")
            status = re.match(r"SIP/2.0 (\d+)", text)
            if status is not None and int(status[1]) >= 200:
                return text
        return None

    def _request(self, method: str, sequence: int, body: str = "") -> None:
        tag, target = self._dialog
        target = target or f"sip:service@127.0.0.1:{self._server[1]}"
        local = self._sip.getsockname()[1]
        content_type = "Content-Type: application/sdp\r\n" if body else ""
        text = (
            f"{method} {target} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{local};branch=z9hG4bK-{method}-{self._id};rport\r\n"
            f"From: <sip:speech@127.0.0.1>;tag={self._id}\r\nTo: <sip:service@127.0.0.1>{tag}\r\n"
            f"Call-ID: {self._id}\r\nCSeq: {sequence} {method}\r\nMax-Forwards: 70\r\n"
            f"Contact: <sip:speech@127.0.0.1:{local}>\r\n{content_type}"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        )
        self._sip.sendto(text.encode(), self._server)

    def hang_up(self) -> None:
        """End the call, whether or not that is answered."""
        for _ in range(3):
            self._request("BYE", 2)
            if self._answer(time.monotonic() + RETRANSMIT):
                break
        self._sip.close()
        self.rtp.close()

    def send(self, number: int) -> None:
        """Send one packet of the speech."""
        header = struct.pack("!BBHII", 0x80, 0x80 if not number else 0, number & 0xFFFF, number * FRAME, 0x5EED)
        self.rtp.sendto(header + self._payloads[number].tobytes(), self._media)

    def receive(self) -> None:
        """Take down all that has come back."""
        while True:
            try:
                data, ancillary, _, _ = self.rtp.recvmsg(2048, 64)
            except BlockingIOError:
                return
            if len(data) <= 12 or data[1] & 0x7F != 0:
                continue
            (stamp,) = struct.unpack_from("!I", data, 4)
            self._reception.packets[stamp] = np.frombuffer(data, np.uint8, offset=12)
            for _, kind, value in ancillary:
                if kind == TIMESTAMPS:
                    seconds, nanoseconds = struct.unpack("@qq", value)
                    self._reception.arrivals[stamp] = seconds + nanoseconds / 1e9

    def heard(self, decode: Callable[[Octets], Samples]) -> Heard:
        """All that came back, laid out by its timestamps. Raises NoAnswer when that is nothing."""
        packets, arrivals = self._reception.packets, self._reception.arrivals
        if not packets:
            raise NoAnswer("nothing came back")
        # A call has no time for its timestamps to wrap but by where they begin.
        origin = next(iter(packets))
        places = {stamp: (stamp - origin + (1 << 31)) % (1 << 32) - (1 << 31) for stamp in packets}
        first = min(places.values())
        length = max(place - first + len(packets[stamp]) for stamp, place in places.items())
        octets = np.full(min(length, 3600 * RATE), QUIET, np.uint8)
        for stamp, place in places.items():
            room = octets[place - first : place - first + len(packets[stamp])]
            room[:] = packets[stamp][: len(room)]
        # Single packets are late because the machine is busy; the server's clock is what most of them say.
        began = float(np.median([arrivals[stamp] - (places[stamp] - first) / RATE for stamp in arrivals]))
        return Heard(decode(octets), began)


@dataclass
class Replay:
    """What was planned and what became of it."""

    began: float
    """When the first packet left, by the clock of `time`."""
    late_p99: float
    """Seconds by which packets left later than planned, exceeded by one in a hundred."""


def replay(calls: list[Call], plans: list[list[tuple[float, int]]]) -> Replay:
    """Have all calls follow their plans at once."""
    events = sorted((at, index, number) for index, plan in enumerate(plans) for at, number in plan)
    sockets = {call.rtp.fileno(): call for call in calls}
    poll = select.poll()
    for descriptor in sockets:
        poll.register(descriptor, select.POLLIN)
    late = []
    began = time.time() + 0.1
    for at, index, number in events:
        while (left := began + at - time.time()) > 0:
            if left < 0.002:
                time.sleep(left)
                continue
            for descriptor, _ in poll.poll(int(1000 * left) - 1):
                sockets[descriptor].receive()
        calls[index].send(number)
        late.append(time.time() - began - at)
    end = time.time() + TAIL
    while (left := end - time.time()) > 0:
        for descriptor, _ in poll.poll(int(1000 * left) + 1):
            sockets[descriptor].receive()
    return Replay(began, float(np.percentile(late, 99)))


def _bound() -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.setblocking(False)
    bound.bind(("127.0.0.1", 0))
    return bound
