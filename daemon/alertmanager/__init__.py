"""Alertmanager: alerts pushed to all that are configured, as Prometheus does, and what is silenced there."""

from daemon.alertmanager._alerts import SENT_BY, fingerprint, moment, page_alert, page_labels
from daemon.alertmanager._client import Client, make_clients
from daemon.alertmanager._hold import Hold
from daemon.alertmanager._metrics import PushMetrics
from daemon.alertmanager._pusher import Pusher

__all__ = [
    "SENT_BY",
    "Client",
    "Hold",
    "PushMetrics",
    "Pusher",
    "fingerprint",
    "make_clients",
    "moment",
    "page_alert",
    "page_labels",
]
