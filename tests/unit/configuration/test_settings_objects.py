from __future__ import annotations

import copy
import threading

import pytest

from sipsimple.configuration import (
    ConfigurationManager,
    DefaultValue,
    ModifiedValue,
    Setting,
    SettingAlias,
    SettingsGroup,
    SettingsGroupMeta,
    SettingsObject,
    SettingsObjectExtension,
    SettingsObjectID,
    group,
    groups_of,
    settings_of,
)
from sipsimple.configuration.backend import ConfigurationBackendError
from sipsimple.configuration.backend.memory import MemoryBackend
from sipsimple.configuration.datatypes import AudioCodecList, NonNegativeInteger, PortRange, SIPAddress
from sipsimple.notification import NotificationCenter


class Inner(SettingsGroup):
    depth = Setting(type=int, default=1)


class Audio(SettingsGroup):
    rate = Setting(type=NonNegativeInteger, default=16000)
    device = Setting(type=str, default="system_default", nillable=True)
    codecs = Setting(type=AudioCodecList, default=None, nillable=True)
    required = Setting(type=AudioCodecList, default=["PCMU"])
    inner = Inner


class Registration(SettingsGroup):
    enabled = Setting(type=bool, default=True)


class SIP(SettingsGroup):
    register = SettingAlias(Registration.enabled, "registration.enabled")


class Person(SettingsObject):
    __group__ = "People"

    id = SettingsObjectID(type=SIPAddress)
    name = Setting(type=str, default=None, nillable=True)
    password = Setting(type=str, default="", secret=True)
    ports = Setting(type=PortRange, default=PortRange(1, 2))
    sip = group(SIP)
    audio = group(Audio)
    registration = group(Registration)

    def __init__(self, id):
        super().__init__(id)
        self.name_when_made = self.name


class General(SettingsObject):
    __id__ = "General"

    flag = Setting(type=bool, default=False)
    audio = Audio
    again = Audio


ALICE = "alice@example.com"


@pytest.fixture
def alice(backend) -> Person:
    return Person(ALICE)


def start(manager: ConfigurationManager, data: dict) -> MemoryBackend:
    backend = MemoryBackend(data)
    manager.start(backend)
    return backend


def test_a_setting_that_is_not_nillable_needs_a_default():
    with pytest.raises(TypeError, match="default"):
        Setting(type=str)


def test_a_setting_read_on_the_class_is_the_descriptor():
    assert isinstance(Person.name, Setting)
    assert (Person.name.type, Person.name.default, Person.name.nillable, Person.name.secret) == (str, None, True, False)
    assert repr(Person.ports) == "<Setting 'ports' of PortRange>"


def test_a_setting_reads_its_default_until_it_is_set(alice):
    assert alice.audio.rate == 16000
    assert not Audio.rate.isset(alice.audio)
    alice.audio.rate = "8000"
    assert alice.audio.rate == 8000
    assert isinstance(alice.audio.rate, NonNegativeInteger)
    assert Audio.rate.isset(alice.audio)


def test_a_value_that_cannot_be_converted_changes_nothing(alice):
    with pytest.raises(ValueError, match="negative"):
        alice.audio.rate = -1
    with pytest.raises(TypeError):
        alice.audio.rate = []
    with pytest.raises(ValueError, match="'rate' cannot be None"):
        alice.audio.rate = None
    assert not Audio.rate.isset(alice.audio)
    assert alice.get_modified() == {}


def test_a_nillable_setting_can_be_none(alice):
    alice.audio.device = None
    assert alice.audio.device is None
    assert Audio.device.isset(alice.audio)


def test_dirty_old_and_undo(alice):
    setting = Audio.rate
    alice.audio.rate = 16000
    assert setting.isdirty(alice.audio), "an explicit value that equals the default is a change"
    setting.clear_dirty(alice.audio)
    alice.audio.rate = 16000
    assert not setting.isdirty(alice.audio), "the value that it has already is none"
    alice.audio.rate = 8000
    assert (setting.get_old(alice.audio), alice.audio.rate) == (16000, 8000)
    setting.undo(alice.audio)
    assert not setting.isdirty(alice.audio)
    assert alice.audio.rate == 16000
    assert setting.isset(alice.audio)


def test_resetting_to_the_default_is_a_change(alice, backend):
    alice.audio.rate = 8000
    alice.name = "Alice"
    alice.save()
    alice.audio.rate = DefaultValue
    assert alice.audio.rate == 16000
    assert alice.get_modified() == {"audio.rate": ModifiedValue(8000, 16000)}
    alice.save()
    assert backend.data == {"People": {ALICE: {"name": "Alice"}}}


def test_resetting_what_is_not_set_is_no_change(alice):
    alice.audio.rate = DefaultValue
    assert alice.get_modified() == {}


def test_groups_are_classes_on_the_class_and_objects_on_the_object(alice):
    assert Person.audio is Audio
    assert isinstance(Person.audio, SettingsGroupMeta)
    assert Person.audio.inner is Inner
    assert alice.audio is alice.audio
    assert isinstance(alice.audio.inner, Inner)
    assert Person("bob@example.com").audio is not alice.audio
    with pytest.raises(AttributeError, match="'audio' is a group"):
        alice.audio = Audio()


def test_one_group_class_under_two_names_is_two_groups(backend):
    General().audio.rate = 1
    General().again.rate = 2
    assert (General().audio.rate, General().again.rate) == (1, 2)


def test_settings_and_groups_are_listed_in_the_order_of_declaration():
    assert [name for name, _ in settings_of(Person)] == ["name", "password", "ports"]
    assert [name for name, _ in groups_of(Person)] == ["sip", "audio", "registration"]


def test_a_subclass_of_a_group_adds_and_replaces(backend):
    class More(Audio):
        rate = Setting(type=int, default=1)
        extra = Setting(type=int, default=2)

    assert (More().rate, More().extra, More().device) == (1, 2, "system_default")


def test_there_is_one_object_per_identity(alice):
    assert Person(ALICE) is alice
    assert Person(id=SIPAddress(ALICE)) is alice
    assert Person("bob@example.com") is not alice
    assert General() is General()


def test_two_threads_make_one_object(backend):
    barrier = threading.Barrier(4)
    made = []

    def make():
        barrier.wait()
        made.append(Person(ALICE))

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, made))) == 1


def test_ids_are_checked_and_converted(backend):
    with pytest.raises(ValueError, match="needs an id"):
        Person()
    with pytest.raises(TypeError, match="has to be text"):
        Person(5)
    with pytest.raises(ValueError, match="no SIP address"):
        Person("alice")
    with pytest.raises(TypeError, match="takes no id"):
        General("other")
    odd = Person("a@b@example.com")
    assert odd.id == "a%40b@example.com"
    assert odd.id.username == "a%40b"
    assert Person("a%40b@example.com") is odd


def test_an_id_cannot_be_empty(backend):
    class Named(SettingsObject):
        flag = Setting(type=bool, default=False)

    with pytest.raises(ValueError, match="empty"):
        Named("")
    assert repr(Named("x")) == "Named('x')"


def test_the_id_is_written_once(alice):
    alice.id = ALICE
    with pytest.raises(AttributeError, match="cannot be changed"):
        alice.id = "bob@example.com"
    assert isinstance(Person.id, SettingsObjectID)


def test_an_id_that_is_not_set_cannot_be_read():
    class Loose:
        id = SettingsObjectID(type=str)

    loose = Loose()
    with pytest.raises(AttributeError, match="not set"):
        _ = loose.id
    loose.id = 5
    assert loose.id == "5"


def test_objects_need_a_started_configuration(manager):
    with pytest.raises(RuntimeError, match="not started"):
        General()


def test_making_an_object_stores_nothing(alice, backend, manager):
    alice.save()
    manager.save()
    assert backend.data == {}


def test_stored_values_are_there_before_init_runs(manager):
    start(manager, {"People": {ALICE: {"name": "Alice"}}})
    assert Person(ALICE).name_when_made == "Alice"
    assert Person(ALICE).get_modified() == {}


def test_all_forms_are_stored_and_loaded(manager, backend):
    alice = Person(ALICE)
    alice.name = "Alice"
    alice.ports = PortRange(10, 20)
    alice.audio.device = None
    alice.audio.codecs = ["PCMU", "PCMA"]
    alice.audio.required = []
    alice.audio.inner.depth = 3
    alice.registration.enabled = False
    alice.save()
    stored = {
        "name": "Alice",
        "ports": "10-20",
        "audio": {"device": None, "codecs": ["PCMU", "PCMA"], "required": [], "inner": {"depth": "3"}},
        "registration": {"enabled": "false"},
    }
    assert backend.data == {"People": {ALICE: stored}}
    manager.stop()
    start(manager, backend.data)
    again = Person(ALICE)
    assert again is not alice
    assert again.ports == PortRange(10, 20)
    assert again.audio.device is None
    assert again.audio.codecs == ["PCMU", "PCMA"]
    assert again.audio.required == []
    assert again.audio.inner.depth == 3
    assert again.registration.enabled is False


def test_an_empty_value_of_an_old_file_is_an_empty_list_where_none_is_not_allowed(manager):
    start(manager, {"People": {ALICE: {"audio": {"codecs": None, "required": None}}}})
    assert Person(ALICE).audio.codecs is None
    assert Person(ALICE).audio.required == []


@pytest.mark.parametrize(("text", "value"), [("yes", True), ("ON", True), ("1", True), ("off", False), ("No", False)])
def test_truth_values_have_several_spellings(manager, text, value):
    start(manager, {"General": {"flag": text}})
    assert General().flag is value
    assert General.flag.isset(General())


@pytest.mark.parametrize(
    ("stored", "attribute"),
    [
        ({"ports": "20-10"}, "ports"),
        ({"ports": ["1", "2"]}, "ports"),
        ({"ports": None}, "ports"),
        ({"name": {"a": "b"}}, "name"),
        ({"audio": {"rate": "fast"}}, "rate"),
        ({"audio": {"rate": None}}, "rate"),
        ({"audio": {"codecs": {"a": "b"}}}, "codecs"),
        ({"audio": "text"}, "audio"),
        ({"registration": {"enabled": "maybe"}}, "enabled"),
    ],
)
def test_an_unusable_stored_value_is_reported_and_loading_continues(manager, recorder, stored, attribute):
    backend = start(manager, {"People": {ALICE: {**stored, "password": "s3cret"}}})
    alice = Person(ALICE)
    assert recorder.names == ["CFGManagerLoadFailed"]
    notification = recorder.notifications[0]
    assert notification.sender is manager
    assert notification.data.attribute == attribute
    assert notification.data.timestamp is not None
    assert isinstance(notification.data.error, ValueError)
    assert notification.data.container in (alice, alice.audio, alice.registration)
    assert alice.password == "s3cret"
    assert (alice.ports, alice.audio.rate, alice.registration.enabled) == (PortRange(1, 2), 16000, True)
    # What was not understood is not lost by saving something else.
    alice.password = "other"
    alice.save()
    assert backend.data["People"][ALICE] == {**stored, "password": "other"}


def test_unknown_stored_names_are_kept(manager):
    backend = start(manager, {"General": {"flag": "true", "later": "x", "audio": {"later": ["y"]}}})
    General().flag = False
    General().save()
    assert backend.data == {"General": {"flag": "false", "later": "x", "audio": {"later": ["y"]}}}


def test_a_type_without_a_stored_form_fails_on_save(backend):
    class Odd(SettingsObject):
        __id__ = "Odd"
        value = Setting(type=float, default=1.0)

    Odd().value = 2.0
    with pytest.raises(TypeError, match="float cannot be stored"):
        Odd().save()
    assert backend.data == {}
    assert set(Odd().get_modified()) == {"value"}


@pytest.mark.spec(247, 261)
def test_saving_reports_the_changes_once(alice, recorder):
    alice.audio.rate = 8000
    alice.name = "Alice"
    seen = []

    class Observer:
        def handle_notification(self, notification):
            seen.append((Audio.rate.isdirty(alice.audio), Audio.rate.get_old(alice.audio)))

    observer = Observer()
    NotificationCenter().add_observer(observer, sender=alice)
    alice.save()
    alice.save()
    assert recorder.names == ["CFGSettingsObjectDidChange"]
    assert recorder.notifications[0].sender is alice
    expected = {"name": ModifiedValue(None, "Alice"), "audio.rate": ModifiedValue(16000, 8000)}
    assert recorder.notifications[0].data.modified == expected
    assert recorder.notifications[0].data.timestamp is not None
    assert seen == [(True, 16000)], "the flags are cleared after the notification"
    assert alice.get_modified() == {}


def test_observers_may_change_and_save_the_object_again(alice, backend, recorder):
    class Observer:
        def handle_notification(self, notification):
            if "name" in notification.data.modified:
                alice.audio.rate += 1
                alice.save()
                alice.name = None

    observer = Observer()
    NotificationCenter().add_observer(observer, name="CFGSettingsObjectDidChange", sender=alice)
    alice.name = "Alice"
    alice.save()
    assert [notification.data.modified for notification in recorder.notifications] == [
        {"name": ModifiedValue(None, "Alice")},
        {"audio.rate": ModifiedValue(16000, 16001)},
    ]
    assert alice.get_modified() == {"name": ModifiedValue("Alice", None)}
    assert backend.data == {"People": {ALICE: {"name": "Alice", "audio": {"rate": "16001"}}}}


def test_a_failure_to_store_is_reported_first_and_the_change_counts(alice, backend, manager, recorder, monkeypatch):
    def fail(data):
        raise ConfigurationBackendError("disk full")

    monkeypatch.setattr(backend, "save", fail)
    alice.name = "Alice"
    alice.save()
    assert recorder.names == ["CFGManagerSaveFailed", "CFGSettingsObjectDidChange"]
    failure = recorder.notifications[0]
    assert failure.sender is manager
    assert failure.data.object is alice
    assert failure.data.modified == {"name": ModifiedValue(None, "Alice")}
    assert str(failure.data.exception) == "disk full"
    assert alice.name == "Alice"
    monkeypatch.undo()
    alice.audio.rate = 8000
    alice.save()
    assert backend.data == {"People": {ALICE: {"name": "Alice", "audio": {"rate": "8000"}}}}


def test_delete_removes_the_object_and_makes_room_for_another(alice, backend, recorder):
    alice.name = "Alice"
    alice.save()
    recorder.clear()
    alice.delete()
    alice.delete()
    assert backend.data == {}
    assert recorder.names == []
    assert Person(ALICE) is not alice
    assert Person(ALICE).name is None


def test_saving_a_deleted_object_does_not_bring_it_back(alice, backend, recorder):
    alice.delete()
    alice.name = "Alice"
    alice.save()
    assert backend.data == {}
    assert recorder.names == []


def test_a_failure_to_delete_is_reported(alice, backend, recorder, monkeypatch):
    def fail(data):
        raise ConfigurationBackendError("disk full")

    monkeypatch.setattr(backend, "save", fail)
    alice.delete()
    assert recorder.names == ["CFGManagerSaveFailed"]
    assert recorder.notifications[0].data.modified == {}


def test_an_object_with_a_fixed_id_cannot_be_deleted(backend):
    with pytest.raises(TypeError, match="cannot be deleted"):
        General().delete()


def test_clone_and_update_are_not_there(alice):
    with pytest.raises(NotImplementedError):
        alice.clone("bob@example.com")
    with pytest.raises(NotImplementedError):
        alice.update(alice)


def test_an_extension_adds_and_replaces(backend):
    class Base(SettingsObject):
        __id__ = "Base"
        audio = group(Audio)
        theme = Setting(type=str, default="light")

    class MyAudio(Audio):
        directory = Setting(type=str, default="recordings")

    class Common(SettingsObjectExtension):
        language = Setting(type=str, default="en")

    class Extension(Common):
        audio = MyAudio
        theme = Setting(type=str, default="dark")
        ignored = "not a setting"

    Base.register_extension(Extension)
    base = Base()
    assert (base.theme, base.language, base.audio.directory, base.audio.rate) == ("dark", "en", "recordings", 16000)
    assert not hasattr(base, "ignored")
    base.audio.directory = "elsewhere"
    base.language = "ro"
    base.save()
    assert backend.data == {"Base": {"audio": {"directory": "elsewhere"}, "language": "ro"}}


@pytest.mark.parametrize("extension", [object, Audio, 5])
def test_what_is_no_extension_is_refused(extension):
    with pytest.raises(TypeError, match="no subclass of SettingsObjectExtension"):
        General.register_extension(extension)


def test_an_extension_is_not_instantiated():
    with pytest.raises(TypeError, match="not to be instantiated"):
        SettingsObjectExtension()


def test_an_alias_is_the_same_setting(alice, backend):
    alice.sip.register = False
    assert alice.registration.enabled is False
    assert Person.sip.register.isset(alice.sip)
    change = ModifiedValue(True, False)
    assert alice.get_modified() == {"sip.register": change, "registration.enabled": change}
    alice.save()
    assert backend.data == {"People": {ALICE: {"registration": {"enabled": "false"}}}}
    alice.registration.enabled = DefaultValue
    assert alice.sip.register is True


@pytest.mark.parametrize(
    ("stored", "value"),
    [
        ({"sip": {"register": "false"}}, False),
        ({"sip": {"register": "false"}, "registration": {"enabled": "true"}}, True),
    ],
)
def test_a_value_stored_under_the_alias_is_understood(manager, stored, value):
    backend = start(manager, {"People": {ALICE: copy.deepcopy(stored)}})
    alice = Person(ALICE)
    assert alice.registration.enabled is value
    alice.name = "Alice"
    alice.save()
    assert backend.data["People"][ALICE] == {**stored, "name": "Alice"}
    alice.registration.enabled = not value
    alice.save()
    assert backend.data["People"][ALICE]["registration"] == {"enabled": str(not value).lower()}
    assert "sip" not in backend.data["People"][ALICE]


def test_an_alias_declared_after_its_setting_does_not_overrule_it(manager):
    class Late(SettingsObject):
        __id__ = "Late"
        registration = group(Registration)
        sip = group(SIP)

    start(manager, {"Late": {"registration": {"enabled": "false"}, "sip": {"register": "true"}}})
    assert Late().registration.enabled is False


def test_secrets_stay_out_of_every_repr(alice, recorder):
    alice.password = "s3cret"
    assert "s3cret" not in repr(alice) + repr(alice.audio) + repr(alice.get_modified())
    alice.save()
    assert "s3cret" not in repr(recorder.notifications)
    assert recorder.notifications[0].data.modified["password"].new == "s3cret"
    assert repr(ModifiedValue(1, 2)) == "ModifiedValue(old=1, new=2)"
    assert repr(Audio()) == "<Audio>"
    assert repr(alice.audio) == "<Audio of Person('alice@example.com')>"
    assert repr(General()) == "General()"


def test_modified_values_are_read_only():
    value = ModifiedValue(1, 2)
    with pytest.raises(AttributeError):
        value.old = 5
    assert value != (1, 2)


def test_saving_from_several_threads_loses_nothing(backend):
    people = [Person(f"user{number}@example.com") for number in range(8)]

    def change(person):
        for rate in range(1, 20):
            person.audio.rate = rate
            person.save()

    threads = [threading.Thread(target=change, args=(person,)) for person in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert backend.data == {"People": {str(person.id): {"audio": {"rate": "19"}} for person in people}}


def test_values_are_read_from_their_stored_form_without_being_set(alice):
    assert Person.ports.from_stored("3-4") == PortRange(3, 4)
    assert Person.name.from_stored(None) is None
    assert alice.get_modified() == {}
    assert alice.__getstate__()["ports"] is DefaultValue
