"""A small relay by RFC 4976: it asks for a password, gives out URIs, and passes chunks on."""

import asyncio
import hashlib
import re

from sipsimple.msrp.chunker import Chunker
from sipsimple.msrp.message import MSRPData
from sipsimple.msrp.uri import MSRPURI

REALM, USER, PASSWORD, NONCE = "relay.example", "alice", "wonderland", "dcd98b7102dd2f0e"


def md5(*parts: str) -> str:
    return hashlib.md5(":".join(parts).encode()).hexdigest()


class RelayServer:
    """Listens on loopback; `requests` are the AUTH requests that came, and `asked` counts them."""

    def __init__(self, *, expires: int = 1800, minimum: int = 0) -> None:
        self.requests: list[MSRPData] = []
        self.asked = asyncio.Semaphore(0)
        self.port = 0
        self.use_tls = False
        self._expires = expires
        self._minimum = minimum
        self._clients: dict[MSRPURI, asyncio.StreamWriter] = {}
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> "RelayServer":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in list(self._writers):
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        chunker = Chunker(segment_size=2**30)
        while data := await reader.read(65536):
            for chunk in chunker.feed(data):
                if chunk.method == "AUTH":
                    self._authorize(chunk, writer)
                elif chunk.method is not None:
                    self._pass_on(chunk, writer)
        writer.close()

    def _authorize(self, chunk: MSRPData, writer: asyncio.StreamWriter) -> None:
        self.requests.append(chunk)
        self.asked.release()
        wanted = int(chunk.headers.get("Expires", self._expires))
        if not self._knows_password(chunk):
            challenge = f'Digest realm="{REALM}", nonce="{NONCE}", qop="auth", algorithm=MD5'
            self._answer(chunk, writer, 401, {"WWW-Authenticate": challenge})
        elif wanted < self._minimum:
            self._answer(chunk, writer, 423, {"Min-Expires": str(self._minimum)})
        else:
            uri = MSRPURI("127.0.0.1", self.port, f"place{len(self._clients)}")
            self._clients[chunk.from_path[0]] = writer
            self._answer(chunk, writer, 200, {"Use-Path": str(uri), "Expires": str(wanted)})

    def _knows_password(self, chunk: MSRPData) -> bool:
        text = chunk.headers.get("Authorization", "")
        values = {name: quoted or plain for name, quoted, plain in re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]+))', text)}
        if not values:
            return False
        what = md5("AUTH", values["uri"])
        expected = md5(md5(USER, REALM, PASSWORD), NONCE, values["nc"], values["cnonce"], "auth", what)
        return values["username"] == USER and values["response"] == expected

    def _answer(self, chunk: MSRPData, writer: asyncio.StreamWriter, code: int, headers: dict[str, str]) -> None:
        path = {"To-Path": chunk.headers["From-Path"], "From-Path": chunk.headers["To-Path"]}
        writer.write(MSRPData(chunk.transaction_id, code=code, headers=path | headers).encode())

    def _pass_on(self, chunk: MSRPData, writer: asyncio.StreamWriter) -> None:
        if chunk.method == "SEND" and chunk.failure_report == "yes":
            headers = {"To-Path": str(chunk.from_path[0]), "From-Path": str(chunk.to_path[0])}
            writer.write(MSRPData(chunk.transaction_id, code=200, headers=headers).encode())
        to_path, from_path = list(chunk.to_path), list(chunk.from_path)
        while to_path[0].port == self.port:
            from_path.insert(0, to_path.pop(0))
        headers = chunk.headers | {"To-Path": " ".join(map(str, to_path)), "From-Path": " ".join(map(str, from_path))}
        passed = MSRPData(
            chunk.transaction_id, method=chunk.method, headers=headers, data=chunk.data, continuation=chunk.continuation
        )
        self._clients[to_path[0]].write(passed.encode())
