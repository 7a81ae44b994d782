"""The HTTP server: metrics, health, readiness, reload; other routes register themselves.

Nothing is imported here, as the command needs some of it and must begin quickly.
"""
