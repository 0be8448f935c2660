import copy

import pytest

from sipsimple.sip.credentials import BaseCredentials, Credentials, FrozenCredentials
from sipsimple.sip.frozen import frozendict, frozenlist
from sipsimple.sip.headers import BaseContactHeader, ContactHeader, FromHeader, FrozenContactHeader, FrozenFromHeader
from sipsimple.sip.uri import SIPURI, BaseSIPURI, FrozenSIPURI


def test_a_frozendict_reads_like_a_dict():
    frozen = frozendict({"a": 1, "b": None})
    assert frozen == {"a": 1, "b": None}
    assert frozen == {"a": 1, "b": None}
    assert frozen["a"] == 1
    assert frozen.get("c", 3) == 3
    assert list(frozen) == list(frozen.keys()) == ["a", "b"]
    assert list(frozen.items()) == [("a", 1), ("b", None)]
    assert "a" in frozen
    assert len(frozen) == 2
    assert frozen.copy() is frozen
    assert frozen != {"a": 1}
    assert frozen != 5
    assert repr(frozen) == "frozendict({'a': 1, 'b': None})"


def test_a_frozendict_cannot_be_written():
    with pytest.raises(TypeError):
        frozendict(a=1)["a"] = 2


def test_equal_frozendicts_have_equal_hashes():
    assert hash(frozendict(a=1, b=2)) == hash(frozendict({"b": 2, "a": 1}))


def test_a_frozenlist_reads_like_a_list():
    frozen = frozenlist([1, 2, 3])
    assert frozen == [1, 2, 3]
    assert frozen == [1, 2, 3]
    assert frozen != [1, 2]
    assert frozen == frozenlist((1, 2, 3))
    assert isinstance(frozen[1:], frozenlist)
    assert frozen[1:] == [2, 3]
    assert frozen[0] == 1
    tail = [4]
    assert frozen + tail == [1, 2, 3, 4]
    assert tail + frozen == [4, 1, 2, 3]
    assert frozen * 2 == 2 * frozen == [1, 2, 3, 1, 2, 3]
    assert list(reversed(frozen)) == [3, 2, 1]
    assert frozen.count(2) == 1
    assert frozen.index(3) == 2
    assert hash(frozen) == hash(frozenlist([1, 2, 3]))
    assert repr(frozen) == "frozenlist([1, 2, 3])"
    with pytest.raises(TypeError):
        frozen + 5
    with pytest.raises(TypeError):
        5 + frozen


@pytest.mark.parametrize("base", [BaseSIPURI, BaseContactHeader])
def test_base_classes_cannot_be_instantiated(base):
    with pytest.raises(TypeError):
        base("example.com")
    with pytest.raises(TypeError):
        base.new(SIPURI("example.com"))
    with pytest.raises(TypeError):
        base.parse("sip:example.com")


def test_frozen_attributes_cannot_be_written():
    uri = FrozenSIPURI("example.com")
    with pytest.raises(AttributeError):
        uri.host = "example.org"
    with pytest.raises(AttributeError):
        del uri.host
    with pytest.raises(AttributeError):
        FrozenFromHeader(uri).tag = "x"
    assert copy.deepcopy(uri) is copy.copy(uri) is uri


def test_a_misspelt_attribute_is_refused():
    with pytest.raises(AttributeError):
        SIPURI("example.com").hots = "example.org"
    with pytest.raises(AttributeError):
        FromHeader(SIPURI("example.com")).name = "To"


def test_frozen_constructors_require_frozen_members():
    with pytest.raises(TypeError):
        FrozenContactHeader(SIPURI("example.com"))
    with pytest.raises(TypeError):
        FrozenContactHeader(FrozenSIPURI("example.com"), None, {"q": "1"})


def test_new_crosses_the_family_and_copies():
    contact = ContactHeader(SIPURI("example.com", parameters={"lr": None}), "Alice", {"q": "0.5"})
    frozen = FrozenContactHeader.new(contact)
    assert frozen == contact
    assert type(frozen.uri) is FrozenSIPURI
    assert FrozenContactHeader.new(frozen) is frozen
    thawed = ContactHeader.new(frozen)
    thawed.uri.host = "example.org"
    thawed.parameters["q"] = "1"
    assert frozen == contact
    assert ContactHeader.new(contact).uri is not contact.uri
    with pytest.raises(TypeError):
        ContactHeader.new(contact.uri)


def test_only_frozen_members_have_a_hash():
    assert hash(FrozenSIPURI("example.com")) == hash(FrozenSIPURI("example.com"))
    with pytest.raises(TypeError):
        hash(SIPURI("example.com"))


def test_equality_ends_at_the_family():
    assert SIPURI("example.com") == FrozenSIPURI("example.com")
    assert SIPURI("example.com") != "sip:example.com"
    with pytest.raises(TypeError):
        sorted([SIPURI("a.example"), SIPURI("b.example")])


def test_pairs_know_each_other():
    assert SIPURI.frozen_type is FrozenSIPURI
    assert FrozenSIPURI.normal_type is SIPURI
    assert FrozenFromHeader.normal_type is FromHeader


def test_repr_is_the_constructor():
    assert repr(SIPURI("h", "u")) == "SIPURI('h', 'u', None, None, False, {}, {})"


def test_credentials_show_no_password():
    for credentials in (Credentials("alice", "secret"), FrozenCredentials("alice", "secret")):
        assert str(credentials) == '<Credentials for "alice">'
        assert "secret" not in repr(credentials)
    assert Credentials("alice", "") == FrozenCredentials("alice", "")
    assert Credentials("alice", "x") != Credentials("alice", "y")
    assert hash(FrozenCredentials("a", "b")) == hash(FrozenCredentials("a", "b"))
    with pytest.raises(TypeError):
        Credentials("alice", None)
    with pytest.raises(TypeError):
        BaseCredentials("alice", "x")
