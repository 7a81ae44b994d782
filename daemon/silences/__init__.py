"""Silences: asked for here and kept up in Alertmanager, and what was silenced there by others."""

from daemon.silences._keeper import SilenceKeeper
from daemon.silences._silences import Silences, UnknownSilenceError
from daemon.silences._views import Matcher, Muting, SilenceView, matchers_for

__all__ = [
    "Matcher",
    "Muting",
    "SilenceKeeper",
    "SilenceView",
    "Silences",
    "UnknownSilenceError",
    "matchers_for",
]
