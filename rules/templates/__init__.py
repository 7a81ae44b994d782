"""Templates of rule labels and annotations: an interpreter of Go's text/template with Prometheus's functions.

lexer → parser (nodes, literals) → execution (statements) and evaluation (pipelines), which call functions on values.
"""

from __future__ import annotations

from rules.templates.state import Context
from rules.templates.template import Template

__all__ = ["Context", "Template"]
