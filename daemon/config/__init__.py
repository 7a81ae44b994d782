"""The configuration: `load` reads custode.yml into Settings, or says everything that is wrong with it."""

from daemon.config._load import load, parse
from daemon.config._models import walk
from daemon.config._plugins import Catalogue
from daemon.config._problems import ConfigError, Problem
from daemon.config._settings import Listen, LogSettings, RuleSettings, Settings, StoreSettings

__all__ = [
    "Catalogue",
    "ConfigError",
    "Listen",
    "LogSettings",
    "Problem",
    "RuleSettings",
    "Settings",
    "StoreSettings",
    "load",
    "parse",
    "walk",
]
