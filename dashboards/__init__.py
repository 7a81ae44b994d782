"""Grafana dashboards and sample configurations, as data files."""
