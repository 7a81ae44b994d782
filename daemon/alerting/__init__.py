"""The rules at work: batches land, rules are evaluated in a thread of their own, alerts outlive the process."""

from daemon.alerting._alerting import FOR_MACHINES, Alerting
from daemon.alerting._journal import FileJournal, Journal, Remembered
from daemon.alerting._metrics import RuleMetrics
from daemon.alerting._thread import RuleThread

__all__ = ["FOR_MACHINES", "Alerting", "FileJournal", "Journal", "Remembered", "RuleMetrics", "RuleThread"]
