"""What is missing on this machine (`check_offline`) and in the environments (`check_connect`).

`custode doctor` looks deeper: at the machine (`check_machine`), and at what is beside the environments
(`check_services`).
"""

from daemon.check._connect import check_connect
from daemon.check._machine import check_machine
from daemon.check._offline import check_offline
from daemon.check._report import Finding, Level, Notes, Report
from daemon.check._services import check_services

__all__ = [
    "Finding",
    "Level",
    "Notes",
    "Report",
    "check_connect",
    "check_machine",
    "check_offline",
    "check_services",
]
