"""What runs Custode: the systemd unit, the compose file beside it, and what the daemon tells systemd."""

from daemon.service._notify import ServiceManager
from daemon.service._unit import unit_text

__all__ = ["ServiceManager", "unit_text"]
