"""What is missing on this machine (`check_offline`) and in the environments (`check_connect`)."""

from daemon.check._connect import check_connect
from daemon.check._offline import check_offline
from daemon.check._report import Finding, Level, Report

__all__ = ["Finding", "Level", "Report", "check_connect", "check_offline"]
