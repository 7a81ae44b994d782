"""Processes that are killed at every place where a run of an action leaves something durable."""
