from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsimple.configuration.backend import ConfigurationBackendError, IConfigurationBackend
from sipsimple.configuration.backend.file import FileBackend, FileBuilderError, FileParserError
from sipsimple.configuration.backend.syntax import MAX_DEPTH, build, parse

EXAMPLE = """\
# the accounts of Alice
Accounts:
    alice@example.com:   # at work
        display_name = "Alice Liddell"
        enabled = true
        password = s3cret
        nat_traversal:
            msrp_relay = relay.example.com:2855;transport=tls
            stun_server_list = 192.0.2.10:3478, 192.0.2.11:3479

        rtp:
            audio_codec_list = PCMU, PCMA
            srtp_encryption = mandatory

        sip:
            outbound_proxy = "proxy.example.com:5061;transport=tls"

    bonjour@local:
        enabled = false

SIPSimpleSettings:
    default_account = alice@example.com
    audio:
        input_device =
        sample_rate = 32000

    sip:
        transport_list = udp,
"""

EXAMPLE_DATA = {
    "Accounts": {
        "alice@example.com": {
            "display_name": "Alice Liddell",
            "enabled": "true",
            "password": "s3cret",
            "nat_traversal": {
                "msrp_relay": "relay.example.com:2855;transport=tls",
                "stun_server_list": ["192.0.2.10:3478", "192.0.2.11:3479"],
            },
            "rtp": {"audio_codec_list": ["PCMU", "PCMA"], "srtp_encryption": "mandatory"},
            "sip": {"outbound_proxy": "proxy.example.com:5061;transport=tls"},
        },
        "bonjour@local": {"enabled": "false"},
    },
    "SIPSimpleSettings": {
        "default_account": "alice@example.com",
        "audio": {"input_device": None, "sample_rate": "32000"},
        "sip": {"transport_list": ["udp"]},
    },
}

texts = st.text(
    st.one_of(
        st.sampled_from(",\"'=:# \\\t\v\f\n\r\x00\x1c\x85\u2028\u3000\ufeffnr"),
        st.characters(exclude_categories=("Cs",)),
    ),
    max_size=8,
)
values = st.one_of(texts, st.none(), st.lists(texts, max_size=3))
configurations = st.recursive(
    st.dictionaries(texts, values, max_size=3),
    lambda groups: st.dictionaries(texts, st.one_of(values, groups), max_size=3),
    max_leaves=8,
)


def test_the_documented_example_is_read():
    assert parse(EXAMPLE) == EXAMPLE_DATA


@given(configurations)
def test_reading_is_the_inverse_of_writing(data):
    assert parse(build(data)) == data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x = a b ", "a b"),
        ("x =  ' a b ' ", " a b "),
        ("x = one' two 'three", "one two three"),
        ("""x = "it's" """, "it's"),
        ("""x = 'say "hi"'""", 'say "hi"'),
        (r"x = a\,b", "a,b"),
        (r'x = "a\"b\\c\nd\re\qf"', 'a"b\\c\nd\reqf'),
        (r"x = \ a\ ", " a "),
        ("x = a # comment", "a"),
        ("x = 'a # b'", "a # b"),
        ("x = a=b:c", "a=b:c"),
        ("x =", None),
        ("x = # nothing", None),
        ('x = ""', ""),
        ("x = a,", ["a"]),
        ("x = a, b", ["a", "b"]),
        ("x = a, b,", ["a", "b"]),
        ("x = a, '', 'b,c'", ["a", "", "b,c"]),
        ("x = '',", [""]),
        ("x = ,", []),
    ],
)
def test_values(text, value):
    assert parse(text) == {"x": value}


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("", {}),
        ("\n  \n# only a comment\n   # and another", {}),
        ("a:", {"a": {}}),
        ("a:\nb:\n", {"a": {}, "b": {}}),
        # Each white-space character counts one.
        ("a:\n\tx = 1\n\tb:\n\t\ty = 2\n  z = 3\n", {"a": {"x": "1", "b": {"y": "2", "z": "3"}}}),
        ("a:\n        x = 1\n    y = 2\nz = 3", {"a": {"x": "1", "y": "2"}, "z": "3"}),
        ("a:\r\n  x = 1\r\n", {"a": {"x": "1"}}),
        ("a:\r  x = 1\r", {"a": {"x": "1"}}),
        ("my  name = 1", {"my  name": "1"}),
        ('\'a:b\' = 1\n"c\\"d":', {"a:b": "1", 'c"d': {}}),
        ("'' = 1", {"": "1"}),
        # The later one counts, whole groups included.
        ("x = 1\nx = 2", {"x": "2"}),
        ("a:\n x = 1\na:\n y = 2", {"a": {"y": "2"}}),
        ("x = 1\nx:\n y = 2", {"x": {"y": "2"}}),
    ],
)
def test_structure(text, data):
    assert parse(text) == data


@pytest.mark.parametrize(
    "line",
    [
        "word",
        "= value",
        " : ",
        "a, b = c",
        "a, b:",
        "a: b",
        "a: , b",
        "x = , b",
        "x = a,, b",
        "x = 'open",
        "x = \"open'",
        "x = end\\",
    ],
)
def test_a_wrong_line_is_named_and_not_quoted(line):
    with pytest.raises(FileParserError, match=r"^line 3: ") as caught:
        parse(f"# comment\nfine = 1\n{line}\nalso = 2\n")
    assert caught.value.line == 3
    assert line not in str(caught.value)


def test_writing_sorts_and_indents():
    data = {"b": {"z": None, "a": "x", "sub": {"l": ["1"]}}, "a": {"empty": {}}, "top": []}
    lines = ["top = ,", "a:", "    empty:", "", "b:", "    a = x", "    z =", "    sub:", "        l = 1,", ""]
    assert build(data) == "".join(f"{line}\n" for line in lines)


def test_the_written_example_is_read():
    assert parse(build(EXAMPLE_DATA)) == EXAMPLE_DATA


@pytest.mark.parametrize("value", [1, True, 1.5, b"x", ("a",), ["a", 1], ["a", None], object()])
def test_other_values_cannot_be_written(value):
    with pytest.raises(FileBuilderError, match="'x'"):
        build({"a": {"x": value}})


def test_names_have_to_be_text():
    with pytest.raises(FileBuilderError, match="not text"):
        build({1: "x"})


def test_depth_is_limited_in_both_directions():
    deepest: dict = {}
    for _ in range(MAX_DEPTH):
        deepest = {"g": deepest}
    assert parse(build(deepest)) == deepest
    with pytest.raises(FileBuilderError, match="deep"):
        build({"g": deepest})
    with pytest.raises(FileParserError, match="deep"):
        parse("\n".join(" " * depth + "g:" for depth in range(MAX_DEPTH + 1)))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "config"


def test_a_missing_file_is_an_empty_configuration(path):
    assert FileBackend(path).load() == {}
    assert not path.exists()


def test_what_is_saved_is_loaded(path):
    FileBackend(str(path)).save(EXAMPLE_DATA)
    assert FileBackend(str(path)).load() == EXAMPLE_DATA


def test_the_file_is_read_at_every_load(path):
    backend = FileBackend(path)
    backend.save({"x": "1"})
    path.write_text("x = 2")
    assert backend.load() == {"x": "2"}


def test_the_file_is_for_its_owner_alone(tmp_path):
    path = tmp_path / "new" / "deep" / "config"
    FileBackend(path).save({"password": "s3cret"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o644)
    FileBackend(path).save({"password": "s3cret"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_but_the_file_is_left_behind(path):
    FileBackend(path).save({})
    assert os.listdir(path.parent) == ["config"]


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_failure_at_any_step_leaves_the_old_file(path, monkeypatch, step):
    backend = FileBackend(path)
    backend.save({"x": "old"})

    def fail(*_):
        raise OSError(28, "No space left on device")

    if step == "write":
        monkeypatch.setattr("sipsimple.configuration.backend.file.open", fail, raising=False)
    else:
        monkeypatch.setattr(os, step, fail)
    with pytest.raises(FileBuilderError, match="No space left"):
        backend.save({"x": "new"})
    monkeypatch.undo()
    assert backend.load() == {"x": "old"}
    assert os.listdir(path.parent) == ["config"]


def test_a_crash_while_saving_leaves_the_old_file(path):
    backend = FileBackend(path)
    backend.save({"x": "old"})
    program = f"""
import os
from sipsimple.configuration.backend.file import FileBackend
os.replace = lambda *_: os._exit(7)
FileBackend({str(path)!r}).save({{"x": "new"}})
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=30).returncode == 7
    assert backend.load() == {"x": "old"}


def test_a_damaged_file_is_never_overwritten(path):
    path.write_text("x = 1\n'open\n")
    backend = FileBackend(path)
    with pytest.raises(FileParserError, match=r"config, line 2: the quote ' is not closed"):
        backend.load()
    with pytest.raises(FileBuilderError, match="repair it"):
        backend.save({})
    assert path.read_text() == "x = 1\n'open\n"
    path.write_text("x = 1\n")
    assert backend.load() == {"x": "1"}
    backend.save({"x": "2"})
    assert path.read_text() == "x = 2\n"


def test_a_file_in_another_encoding_is_damaged(path):
    path.write_bytes(b"x = 1\ny = \xff\n")
    with pytest.raises(FileParserError, match="line 2: this is not utf-8 text"):
        FileBackend(path).load()
    assert FileBackend(path, encoding="latin-1").load() == {"x": "1", "y": "\xff"}


def test_the_mark_of_windows_editors_is_skipped(path):
    path.write_bytes(b"\xef\xbb\xbfx = 1\r\n")
    assert FileBackend(path).load() == {"x": "1"}


def test_text_that_the_encoding_lacks_cannot_be_saved(path):
    with pytest.raises(FileBuilderError, match="ascii"):
        FileBackend(path, encoding="ascii").save({"x": "\u00e9"})
    with pytest.raises(FileBuilderError, match="utf-8"):
        FileBackend(path).save({"x": "\ud800"})
    assert not path.exists()


def test_a_symbolic_link_stays_one(path, tmp_path):
    target = tmp_path / "target"
    target.write_text("x = 1")
    path.symlink_to(target)
    FileBackend(path).save({"x": "2"})
    assert path.is_symlink()
    assert target.read_text() == "x = 2\n"


def test_other_read_errors_propagate(tmp_path):
    with pytest.raises(IsADirectoryError):
        FileBackend(tmp_path).load()


def test_a_directory_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileBuilderError, match="cannot write"):
        FileBackend(tmp_path / "file" / "config").save({})


def test_a_directory_that_refuses_fsync_is_accepted(path, monkeypatch):
    real = os.fsync

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(22, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    FileBackend(path).save({"x": "1"})
    assert FileBackend(path).load() == {"x": "1"}


def test_the_backend_declares_its_interface_and_its_errors():
    assert IConfigurationBackend.implementedBy(FileBackend)
    assert issubclass(FileParserError, ConfigurationBackendError)
    assert issubclass(FileBuilderError, ConfigurationBackendError)
    assert repr(FileBackend("/x/config")) == "FileBackend('/x/config')"
