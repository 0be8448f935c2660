"""G.711 against values of the recommendation's tables, and the laws' own symmetries."""

from __future__ import annotations

import numpy as np
import pytest

from sipsimple.media.codecs.g711 import PCMA, PCMU

ROWS = np.array([0])
LAWS = {"PCMU": PCMU, "PCMA": PCMA}
OCTETS = np.arange(256, dtype=np.uint8).reshape(1, 256)

# Decision and output values of ITU-T G.711 tables 2a/2b (mu, 14 bit) and 1a/1b (A, 13 bit), scaled to 16 bit.
MU_LAW = {0xFF: 0, 0xFE: 8, 0xF0: 120, 0xEF: 132, 0xE0: 372, 0xDF: 396, 0xC0: 1884, 0xB0: 3900, 0xA0: 7932}
MU_LAW |= {0x90: 15996, 0x8F: 16764, 0x80: 32124, 0x7F: 0, 0x7E: -8, 0x00: -32124, 0x0F: -16764}
A_LAW = {0xD5: 8, 0xD4: 24, 0xDA: 248, 0xC5: 264, 0xCA: 504, 0xF5: 528, 0xFA: 1008, 0xE5: 1056, 0x95: 2112}
A_LAW |= {0xAA: 32256, 0xA5: 16896, 0x55: -8, 0x54: -24, 0x2A: -32256, 0x25: -16896}


@pytest.mark.parametrize(("name", "table"), [("PCMU", MU_LAW), ("PCMA", A_LAW)])
def test_octets_decode_to_the_values_of_the_recommendation(name, table):
    decoded = LAWS[name].decode(ROWS, np.array([list(table)], np.uint8))
    assert decoded.tolist() == [list(table.values())]


@pytest.mark.parametrize("name", ["PCMU", "PCMA"])
def test_every_output_value_encodes_to_its_octet(name):
    law = LAWS[name]
    again = law.encode(ROWS, law.decode(ROWS, OCTETS))
    different = np.flatnonzero(again[0] != OCTETS[0]).tolist()
    # mu-law has two zeros; the negative one becomes the positive one.
    assert different == ([0x7F] if name == "PCMU" else [])


@pytest.mark.parametrize("name", ["PCMU", "PCMA"])
def test_error_is_at_most_half_a_step(name):
    law = LAWS[name]
    samples = np.arange(-32768, 32768, dtype=np.int32).astype(np.int16).reshape(1, -1)
    decoded = law.decode(ROWS, law.encode(ROWS, samples)).astype(int)[0]
    inside = np.abs(samples[0].astype(int)) <= 32124
    magnitude = np.maximum(np.abs(samples[0].astype(int)), 256)
    assert (np.abs(decoded - samples[0])[inside] <= magnitude[inside] / 16).all()
    assert (np.diff(decoded) >= 0).all()


@pytest.mark.parametrize("name", ["PCMU", "PCMA"])
def test_missing_sample_mark_is_never_decoded(name):
    assert LAWS[name].decode(ROWS, OCTETS).min() > -32768
