"""Endpoints and bare sockets that talk over loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from sipsimple.sip.endpoint import Endpoint
from sipsimple.sip.message import Headers, Request, Response, parse_message
from sipsimple.sip.timers import Timing
from sipsimple.sip.transport import Destination

TIME_LIMIT = 5.0
FAST = Timing(t1=0.02, t2=0.08, t4=0.1, trying_delay=0.02)
HOSTS = {"4": "127.0.0.1", "6": "::1"}


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until the condition holds; for counters, which announce nothing."""
    async with asyncio.timeout(TIME_LIMIT):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


class Peer:
    """An endpoint with a user that writes down what it is told, and answers as `answer` says."""

    def __init__(self, timing: Timing = FAST) -> None:
        self.endpoint = Endpoint(self, user_agent="peer", timing=timing)
        self.events: asyncio.Queue[tuple[str, Any, Any]] = asyncio.Queue()
        self.answer: int | None = 200

    async def next(self, kind: str) -> tuple[Any, Any]:
        """The next event of this kind, which is waited for; others are skipped."""
        async with asyncio.timeout(TIME_LIMIT):
            while (event := await self.events.get())[0] != kind:
                pass
        return event[1:]

    def kinds(self) -> list[str]:
        """What happened and was not waited for."""
        return [self.events.get_nowait()[0] for _ in range(self.events.qsize())]

    async def responses(self, code: int) -> Response:
        """The response with this code, which is waited for."""
        while (response := (await self.next("response"))[1]).code != code:
            pass
        return response

    def note(self, kind: str, subject: Any = None, detail: Any = None) -> None:
        self.events.put_nowait((kind, subject, detail))

    def on_request(self, transaction: Any, request: Request) -> None:
        self.note("request", transaction, request)
        if self.answer is not None:
            self.respond(transaction, self.answer)

    def respond(self, transaction: Any, code: int) -> None:
        self.endpoint.respond(transaction, transaction.request.make_response(code, to_tag="there"))

    def on_acknowledgement(self, ack: Request) -> None:
        self.note("ack", None, ack)

    def on_cancel(self, transaction: Any, cancel: Request) -> None:
        self.note("cancel", transaction, cancel)
        self.respond(transaction, 487)

    def on_connection_lost(self, destination: Destination, error: Exception) -> None:
        self.note("lost", destination, error)

    def on_ack(self, transaction: Any, ack: Request, now: float) -> None:
        self.note("refusal acknowledged", transaction, ack)

    def on_response(self, transaction: Any, response: Response, now: float) -> None:
        self.note("response", transaction, response)

    def on_timeout(self, transaction: Any, now: float) -> None:
        self.note("timeout", transaction)

    def on_transport_error(self, transaction: Any, error: Exception, now: float) -> None:
        self.note("transport error", transaction, error)


@asynccontextmanager
async def peers(transport: Any = "udp", host: str = "127.0.0.1") -> AsyncIterator[tuple[Peer, Peer, Destination]]:
    """A client, a server, and the destination of the server."""
    client, server = Peer(), Peer()
    try:
        await client.endpoint.listen(transport, host, 0)
        port = await server.endpoint.listen(transport, host, 0)
        yield client, server, Destination(transport, host, port)
    finally:
        await client.endpoint.close()
        await server.endpoint.close()


def make_request(method: str = "OPTIONS", *, call_id: str = "call", sequence: int = 1, body: bytes = b"") -> Request:
    """A request as a user of the endpoint makes it: without Via."""
    headers = Headers()
    headers.add("From", "<sip:alice@127.0.0.1>;tag=here")
    headers.add("To", "<sip:bob@127.0.0.1>")
    headers.add("Call-ID", call_id)
    headers.add("CSeq", f"{sequence} {method}")
    return Request(method, "sip:bob@127.0.0.1", headers, body)


def wire_request(method: str = "OPTIONS", *, via: str = "", uri: str = "sip:bob@127.0.0.1", **changes: str) -> bytes:
    """A request in bytes, from somebody at `via`; `changes` are other headers (Call_ID for Call-ID), "" for none."""
    headers = {
        "Via": via or "SIP/2.0/UDP 127.0.0.1:9;rport;branch=z9hG4bKraw",
        "Max-Forwards": "70",
        "From": "<sip:alice@127.0.0.1>;tag=raw",
        "To": "<sip:bob@127.0.0.1>",
        "Call-ID": "raw",
        "CSeq": f"1 {method}",
        "Content-Length": "0",
    }
    headers.update({name.replace("_", "-"): value for name, value in changes.items()})
    version = headers.pop("version", "SIP/2.0")
    lines = [f"{method} {uri} {version}", *(f"{name}: {value}" for name, value in headers.items() if value)]
    return "\r\n".join([*lines, "", ""]).encode()


class BareUDP:
    """A UDP socket without any SIP, with the address of the endpoint that it talks to."""

    def __init__(self, destination: Destination) -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in destination.host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((destination.host, 0))
        self.socket.connect(destination.address)
        self.port = self.socket.getsockname()[1]

    def send(self, data: bytes) -> None:
        self.socket.send(data)

    async def receive(self) -> Response | Request:
        """The next message."""
        async with asyncio.timeout(TIME_LIMIT):
            return parse_message(await asyncio.get_running_loop().sock_recv(self.socket, 65535))

    async def ask(self, data: bytes) -> Any:
        self.send(data)
        return await self.receive()

    def __enter__(self) -> BareUDP:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
