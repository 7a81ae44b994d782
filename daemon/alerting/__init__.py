"""The rules at work: batches land, rules are evaluated in a thread of their own, alerts outlive the process."""

from daemon.alerting._alerting import Alerting
from daemon.alerting._journal import FileJournal, Journal, Remembered
from daemon.alerting._metrics import RuleMetrics
from daemon.alerting._mirror import AlertMirror
from daemon.alerting._shared import SharedSamples, compared_metrics
from daemon.alerting._shown import FOR_MACHINES
from daemon.alerting._thread import RuleThread

__all__ = [
    "FOR_MACHINES",
    "AlertMirror",
    "Alerting",
    "FileJournal",
    "Journal",
    "Remembered",
    "RuleMetrics",
    "RuleThread",
    "SharedSamples",
    "compared_metrics",
]
