"""Content negotiation (RFC 9110, 12.5): which format, and whether compressed."""

from __future__ import annotations


def accepts_openmetrics(accept: str) -> bool:
    """Whether an `Accept` header likes OpenMetrics 1.0 at least as much as the text format 0.0.4.

    A wildcard asks for nothing in particular and gets text, which every reader knows.
    """
    openmetrics = text = 0.0
    for media_type, parameters in _ranges(accept):
        quality = _quality(parameters)
        if media_type == "application/openmetrics-text" and parameters.get("version", "1.0.0") == "1.0.0":
            openmetrics = max(openmetrics, quality)
        elif media_type == "text/plain" and parameters.get("version", "0.0.4") == "0.0.4":
            text = max(text, quality)
    return openmetrics > 0 and openmetrics >= text


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an `Accept-Encoding` header allows gzip; a `*` counts where gzip is not named."""
    codings = {coding: _quality(parameters) for coding, parameters in _ranges(accept_encoding)}
    return codings.get("gzip", codings.get("*", 0.0)) > 0


def _ranges(header: str) -> list[tuple[str, dict[str, str]]]:
    """The elements of a header as (name, parameters), lower case and without blanks."""
    elements = []
    for element in header.lower().replace(" ", "").split(","):
        name, *parameters = element.split(";")
        elements.append((name, dict(parameter.partition("=")[::2] for parameter in parameters)))
    return elements


def _quality(parameters: dict[str, str]) -> float:
    """The weight `q`, 1 where absent; one that cannot be read refuses, as the sender meant something by it."""
    try:
        return float(parameters.get("q", "1"))
    except ValueError:
        return 0.0
