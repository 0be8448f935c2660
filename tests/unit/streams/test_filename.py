"""Names of received files."""

from __future__ import annotations

import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsimple.streams.msrp.filename import MAX_NAME_SIZE, numbered, safe_name


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("report.pdf", "report.pdf"),
        ("Grüße ñ 漢字.txt", "Grüße ñ 漢字.txt"),
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        (r"C:\Windows\system32\evil.exe", "evil.exe"),
        ("C:evil", "C_evil"),
        ("..", "file"),
        (".", "file"),
        ("", "file"),
        (None, "file"),
        ("///", "file"),
        ("name/..", "name"),
        (".bashrc", "bashrc"),
        ("...a", "a"),
        (" a . ", "a"),
        ("a\0b", "a_b"),
        ("a\r\nb\x1b[31m", "a__b_[31m"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("Com1.tar.gz", "_Com1.tar.gz"),
        ("lpt² .x", "_lpt² .x"),
        ("console.txt", "console.txt"),
        ("a\u202excod.exe", "a_xcod.exe"),
        ("a\u200b\u2066b", "a__b"),
        ("\ud800x", "_x"),
        ("a\u00a0b\u2003", "a b"),
        ('a<b>c"d|e?f*g:h', "a_b_c_d_e_f_g_h"),
    ],
)
def test_names(name: str | None, safe: str):
    assert safe_name(name) == safe


def test_a_long_name_keeps_its_extension():
    safe = safe_name("ä" * 4000 + ".jpeg")
    assert safe.endswith("ä.jpeg")
    assert len(safe.encode()) <= MAX_NAME_SIZE
    assert len(safe_name("x." + "y" * 4000).encode()) <= MAX_NAME_SIZE


def test_numbers_go_before_the_extension():
    assert numbered("a.txt", 0) == "a.txt"
    assert numbered("a.txt", 1) == "a (1).txt"
    assert numbered("README", 2) == "README (2)"
    assert numbered("what.a-long-extension-that-is-none", 1) == "what.a-long-extension-that-is-none (1)"


@given(st.text(st.sampled_from("./\\ :COMNUL1_\0\u202e") | st.characters(), max_size=400))
def test_whatever_the_name_it_stays_in_its_directory(name: str):
    safe = safe_name(name)
    assert os.path.basename(safe) == safe
    assert safe not in ("", ".", "..")
    assert safe == safe.strip(" .")
    assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in safe)
    assert len(numbered(safe, 9999).encode()) < 255
    assert safe_name(safe) == safe
