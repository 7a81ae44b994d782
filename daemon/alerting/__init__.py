"""The rules at work: batches land, rules are evaluated in a thread of their own, alerts outlive the process."""

from daemon.alerting._alerting import Alerting
from daemon.alerting._journal import FileJournal, Journal, Remembered
from daemon.alerting._metrics import RuleMetrics
from daemon.alerting._thread import RuleThread

__all__ = ["Alerting", "FileJournal", "Journal", "Remembered", "RuleMetrics", "RuleThread"]
