"""Small damages to well-formed input: cut, doubled, swapped, replaced, with what parsers stumble over."""

from __future__ import annotations

import random
from typing import Final

TROUBLE: Final = [
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b"\r\n ", b",", b";", b":", b"=", b'"', b"\\", b"<", b">", b"@", b"%",
    b"%00", b"%zz", b"[", b"]", b"*", b"/", b"?", b"&", b"\xff", b"\xc3\xa9", b"\xe2\x80\xae", b"0", b"-1",
    b"4294967296",
    b"99999999999999999999", b"z9hG4bK", b";tag=", b"SIP/2.0", b"sip:", b"Content-Length: 99999\r\n", b"a" * 300,
]  # fmt: skip


def mutated(seed: bytes, dice: random.Random) -> bytes:
    """The seed with one to six damages."""
    data = bytearray(seed)
    for _ in range(dice.randint(1, 6)):
        place = dice.randint(0, len(data))
        match dice.randrange(6):
            case 0:
                del data[place : place + dice.randint(1, 12)]
            case 1:
                data[place:place] = dice.choice(TROUBLE)
            case 2:
                data[place:place] = data[place : place + dice.randint(1, 60)]
            case 3 if data:
                data[place % len(data)] = dice.randrange(256)
            case 4:
                data[place : place + dice.randint(1, 4)] = dice.choice(TROUBLE)
            case _:
                data = data[:place] if dice.random() < 0.2 else data
    return bytes(data)
