"""Slack: threads that follow trouble from firing to fixed, and buttons with which people decide.

Nothing is imported here: only a daemon that talks to Slack loads what it takes (`daemon.slack.app`).
"""
