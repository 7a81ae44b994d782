"""Rule files: read as Prometheus reads them, every problem told with its line."""

from rules.files.loader import DEFAULT_INTERVAL, RuleFile, load_files, parse_text, read_file

__all__ = ["DEFAULT_INTERVAL", "RuleFile", "load_files", "parse_text", "read_file"]
