"""The configuration: settings with types and defaults, kept by a storage backend, changed while running.

`ConfigurationManager().start(backend)` loads everything; `SIPApplication` does that. After that the settings objects,
such as `SIPSimpleSettings` and the accounts, can be made, read, changed and saved.
"""

from sipsimple.configuration.errors import ConfigurationError, ObjectNotFoundError
from sipsimple.configuration.groups import SettingsGroup, SettingsGroupMeta, group, groups_of, settings_of
from sipsimple.configuration.manager import ConfigurationManager, DefaultValue
from sipsimple.configuration.objects import SettingsObject, SettingsObjectExtension
from sipsimple.configuration.setting import ModifiedValue, Setting, SettingAlias, SettingsObjectID

__all__ = [
    "ConfigurationError",
    "ConfigurationManager",
    "DefaultValue",
    "ModifiedValue",
    "ObjectNotFoundError",
    "Setting",
    "SettingAlias",
    "SettingsGroup",
    "SettingsGroupMeta",
    "SettingsObject",
    "SettingsObjectExtension",
    "SettingsObjectID",
    "group",
    "groups_of",
    "settings_of",
]
