"""The composition root and everything that runs: scheduling, HTTP, notifiers, state, the command line."""
