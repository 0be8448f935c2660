"""What can go wrong with the configuration.

ConfigurationError
    ObjectNotFoundError             nothing is stored under that name
    ConfigurationBackendError       the storage failed (`sipsimple.configuration.backend`)
        FileParserError             a file is not understood (`sipsimple.configuration.backend.file`)
        FileBuilderError            a file cannot be written
"""

from __future__ import annotations


class ConfigurationError(Exception):
    """Anything that went wrong with the configuration."""


class ObjectNotFoundError(ConfigurationError):
    """Nothing is stored under this name."""
