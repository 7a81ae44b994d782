"""Prometheus's language for query tests (`load`, `clear`, `eval`): parser, runner and comparison.

Follows promql/promqltest of Prometheus 3.14. What cannot be judged here is skipped with a reason, never silently:
native histograms, start timestamps, and experimental language that the engine refuses.
"""
