from __future__ import annotations

import threading

import pytest

from sipsimple.configuration import ConfigurationManager, DefaultValue, ObjectNotFoundError
from sipsimple.configuration.backend import ConfigurationBackendError
from sipsimple.configuration.backend.memory import MemoryBackend


class BrokenBackend(MemoryBackend):
    def load(self):
        raise ConfigurationBackendError("the disk is gone")


@pytest.mark.parametrize(
    "use",
    [
        lambda manager: manager.update(None, "a", {}),
        lambda manager: manager.get(None, "a"),
        lambda manager: manager.get_names(None),
        lambda manager: manager.delete(None, "a"),
        lambda manager: manager.save(),
    ],
)
def test_nothing_works_before_start(manager, use):
    with pytest.raises(RuntimeError, match="not started"):
        use(manager)


def test_starting_twice_is_refused(manager, backend):
    with pytest.raises(RuntimeError, match="already"):
        manager.start(MemoryBackend())
    assert manager.backend is backend


@pytest.mark.parametrize("backend", [None, object(), {"load": 1}])
def test_an_object_without_the_methods_of_a_backend_is_refused(manager, backend):
    with pytest.raises(TypeError, match="backend"):
        manager.start(backend)


def test_a_backend_that_loads_no_dictionary_is_refused(manager):
    class Odd(MemoryBackend):
        def load(self):
            return []

    with pytest.raises(TypeError, match="dictionary"):
        manager.start(Odd())
    assert manager.data is None


def test_a_backend_needs_no_declaration(manager):
    class Undeclared:
        def load(self):
            return {"a": {"x": "1"}}

        def save(self, data):
            pass

    manager.start(Undeclared())
    assert manager.get(None, "a") == {"x": "1"}


def test_after_a_failed_load_it_can_be_started_again(manager):
    with pytest.raises(ConfigurationBackendError):
        manager.start(BrokenBackend())
    assert manager.backend is None
    manager.start(MemoryBackend({"a": {"x": "1"}}))
    assert manager.get(None, "a") == {"x": "1"}


def test_update_merges_and_removes(manager, backend):
    manager.update("Group", "a", {"x": "1", "sub": {"y": "2", "z": ["3"]}})
    manager.update("Group", "a", {"x": None, "sub": {"y": DefaultValue}})
    assert manager.get("Group", "a") == {"x": None, "sub": {"z": ["3"]}}
    manager.update("Group", "a", {"sub": {"z": DefaultValue}})
    assert manager.get("Group", "a") == {"x": None}


def test_an_object_that_becomes_empty_is_still_an_object(manager, backend):
    manager.update("Group", "a", {"x": "1"})
    manager.update("Group", "a", {"x": DefaultValue})
    assert manager.get("Group", "a") == {}
    assert manager.get_names("Group") == ["a"]


def test_a_dictionary_replaces_a_value_and_the_other_way_round(manager, backend):
    manager.update(None, "a", {"x": "1", "y": {"z": "2"}})
    manager.update(None, "a", {"x": {"z": "3"}, "y": "4"})
    assert manager.get(None, "a") == {"x": {"z": "3"}, "y": "4"}


def test_get_names_what_is_missing(manager, backend):
    with pytest.raises(ObjectNotFoundError, match=r"'alice'.*'Accounts'"):
        manager.get("Accounts", "alice")
    assert manager.get_names("Accounts") == []


def test_what_get_returns_is_a_copy(manager, backend):
    manager.update(None, "a", {"x": ["1"]})
    manager.get(None, "a")["x"].append("2")
    assert manager.get(None, "a") == {"x": ["1"]}


def test_delete_removes_the_emptied_group_and_accepts_the_missing(manager, backend):
    manager.update("Group", "a", {})
    manager.update("Group", "b", {})
    manager.delete("Group", "a")
    manager.delete("Group", "missing")
    manager.delete("Missing", "missing")
    assert manager.data == {"Group": {"b": {}}}
    manager.delete("Group", "b")
    assert manager.data == {}


def test_save_hands_everything_to_the_backend(manager, backend):
    manager.update("Group", "a", {"x": "1"})
    assert backend.data == {}
    manager.save()
    assert backend.data == {"Group": {"a": {"x": "1"}}}


def test_stored_nonsense_in_place_of_groups_is_survived(manager):
    manager.start(MemoryBackend({"Accounts": "text", "Settings": None}))
    assert manager.get_names("Accounts") == []
    with pytest.raises(ObjectNotFoundError):
        manager.get(None, "Settings")
    manager.delete("Accounts", "a")
    assert manager.data["Accounts"] == "text"
    manager.update("Accounts", "a", {"x": "1"})
    assert manager.get("Accounts", "a") == {"x": "1"}


def test_stop_forgets_everything(manager, backend):
    manager.update(None, "a", {})
    manager.stop()
    manager.stop()
    manager.start(MemoryBackend())
    assert manager.get_names(None) == []


def test_it_is_one_object_for_all_threads(manager):
    found = []
    thread = threading.Thread(target=lambda: found.append(ConfigurationManager()))
    thread.start()
    thread.join()
    assert found == [manager]


def test_the_default_value_is_one_object():
    import copy

    assert copy.deepcopy(DefaultValue) is copy.copy(DefaultValue) is DefaultValue
    assert repr(DefaultValue) == "DefaultValue"


def test_a_memory_backend_keeps_copies_and_shows_no_content():
    data = {"a": {"password": "s3cret"}}
    backend = MemoryBackend(data)
    data["a"]["password"] = "other"
    loaded = backend.load()
    assert loaded == {"a": {"password": "s3cret"}}
    loaded["a"]["x"] = "1"
    backend.save(loaded)
    loaded["a"]["x"] = "2"
    assert backend.data == {"a": {"password": "s3cret", "x": "1"}}
    assert "s3cret" not in repr(backend)
