"""Builds the dashboards: `python -m dashboards._builder` writes them beside this package, as they are committed."""
