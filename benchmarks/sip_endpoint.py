"""How many calls one core signals: INVITE, 200, ACK, BYE, 200 between two endpoints in one process, over loopback.

    python benchmarks/sip_endpoint.py [--calls 5000] [--pending 50] [--transport udp] [--profile]

The CPU time is that of both sides; each side alone takes about half.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import pstats
import time
from typing import Any

from sipsimple.sip.endpoint import Endpoint
from sipsimple.sip.message import Headers, Request, Response
from sipsimple.sip.transaction import ServerTransaction
from sipsimple.sip.transport import Destination

SDP = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8 101\r\n"


class Callee:
    """Answers every INVITE and every BYE with 200."""

    endpoint: Endpoint

    def on_request(self, transaction: ServerTransaction, request: Request) -> None:
        response = request.make_response(200, to_tag="callee")
        if request.method == "INVITE":
            response.headers.add("Contact", "<sip:callee@127.0.0.1>")
            response.headers.add("Content-Type", "application/sdp")
            response.body = SDP
        self.endpoint.respond(transaction, response)

    def on_acknowledgement(self, ack: Request) -> None: ...
    def on_cancel(self, transaction: Any, cancel: Request) -> None: ...
    def on_connection_lost(self, destination: Destination, error: Exception) -> None: ...
    def on_ack(self, transaction: Any, ack: Request, now: float) -> None: ...
    def on_timeout(self, transaction: Any, now: float) -> None: ...
    def on_transport_error(self, transaction: Any, error: Exception, now: float) -> None: ...


class Caller(Callee):
    """Keeps a number of calls going until all are done."""

    def __init__(self, destination: Destination, calls: int) -> None:
        self.destination = destination
        self.remaining = calls
        self.running = 0
        self.failed = 0
        self.done = asyncio.Event()

    def call(self) -> None:
        if self.remaining:
            self.remaining -= 1
            self.running += 1
            self._send("INVITE", f"call-{self.remaining}", 1)

    def on_response(self, transaction: Any, response: Response, now: float) -> None:
        if response.code < 200:
            return
        sequence, method = response.cseq
        if method == "INVITE":
            ack = self._request("ACK", response.call_id, sequence)
            self.endpoint.send_stateless(ack, self.destination)
            self._send("BYE", response.call_id, sequence + 1)
        else:
            self._finish()

    def on_timeout(self, transaction: Any, now: float) -> None:
        self.failed += 1
        self._finish()

    def _finish(self) -> None:
        self.running -= 1
        self.call()
        if not self.running:
            self.done.set()

    def _send(self, method: str, call_id: str, sequence: int) -> None:
        self.endpoint.send_request(self._request(method, call_id, sequence), self.destination, self)

    def _request(self, method: str, call_id: str, sequence: int) -> Request:
        uri = f"sip:callee@{self.destination.host}:{self.destination.port}"
        headers = Headers()
        headers.add("From", f"<sip:caller@127.0.0.1>;tag={call_id}")
        headers.add("To", "<sip:callee@127.0.0.1>" + ("" if method == "INVITE" else ";tag=callee"))
        headers.add("Call-ID", call_id)
        headers.add("CSeq", f"{sequence} {method}")
        if method == "INVITE":
            headers.add("Contact", "<sip:caller@127.0.0.1>")
            headers.add("Content-Type", "application/sdp")
        return Request(method, uri, headers, SDP if method == "INVITE" else b"")


async def run(calls: int, pending: int, transport: Any) -> str:
    """Make the calls; returns the report."""
    callee = Callee()
    callee.endpoint = Endpoint(callee)
    port = await callee.endpoint.listen(transport, "127.0.0.1", 0)
    caller = Caller(Destination(transport, "127.0.0.1", port), calls)
    caller.endpoint = Endpoint(caller)
    await caller.endpoint.listen(transport, "127.0.0.1", 0)
    gc.collect()
    gc.freeze()
    started, cpu = time.perf_counter(), time.process_time()
    for _ in range(pending):
        caller.call()
    await caller.done.wait()
    elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
    absorbed = callee.endpoint.statistics.retransmissions_absorbed
    await caller.endpoint.close()
    await callee.endpoint.close()
    return (
        f"{calls} calls in {elapsed:.2f} s: {calls / elapsed:.0f} calls/s, {2 * calls / elapsed:.0f} transactions/s, "
        f"CPU {cpu / calls * 1e6:.0f} µs a call; {caller.failed} failed, {absorbed} retransmissions"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--pending", type=int, default=50)
    parser.add_argument("--transport", choices=("udp", "tcp"), default="udp")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    profile = cProfile.Profile()
    if options.profile:
        profile.enable()
    report = asyncio.run(run(options.calls, options.pending, options.transport))
    profile.disable()
    print(report)
    if options.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(30)


if __name__ == "__main__":
    main()
