"""The configuration: `load` reads custode.yml into Settings, or says everything that is wrong with it."""

from daemon.config._access import AccessSettings, RoleName, TokenSettings
from daemon.config._actions import Limits, OperatorSettings, Verb
from daemon.config._alertmanager import AlertmanagerSettings
from daemon.config._heartbeat import HeartbeatSettings
from daemon.config._load import load, parse
from daemon.config._models import walk
from daemon.config._plugins import Catalogue
from daemon.config._problems import ConfigError, Problem
from daemon.config._settings import Listen, LogSettings, RuleSettings, Settings, StateSettings, StoreSettings

__all__ = [
    "AccessSettings",
    "AlertmanagerSettings",
    "Catalogue",
    "ConfigError",
    "HeartbeatSettings",
    "Limits",
    "Listen",
    "LogSettings",
    "OperatorSettings",
    "Problem",
    "RoleName",
    "RuleSettings",
    "Settings",
    "StateSettings",
    "StoreSettings",
    "TokenSettings",
    "Verb",
    "load",
    "parse",
    "walk",
]
