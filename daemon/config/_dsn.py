"""Look into a database URL before it is used: its form, its references, whether a password stands in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from daemon.config._problems import closest
from fleet.secrets import SecretText

SCHEMES = ("postgresql", "postgres", "postgresql+asyncpg")
_REFERENCE = re.compile(r"\$\{[^}]*\}")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[^:\[\]]*)(?::\d{1,5})?")
_SECRET_KEYS = frozenset({"password", "sslpassword", "passwd"})
_ENCODE = "percent-encode what is special in user and password: @ is %40, / is %2F, # is %23, ? is %3F, : is %3A"
_REFERENCES = (
    "write ${env:NAME} in its place, or the whole URL as env:NAME, file:/path, awssm:name or vault:mount/path#key; "
    "or set policy.access.literal_password"
)
Fault = tuple[str, str | None]  # what is wrong, and a hint; neither quotes the text


def secret_faults(text: SecretText, schemes: Sequence[str]) -> Iterator[Fault]:
    """What is wrong with the references in any text, `schemes` being those that have a source."""
    start, colon, rest = text.raw.partition(":")
    unfinished = "${" in _well_formed(text.raw)
    if unfinished:
        yield "holds a ${…} that is no reference", f"write ${{scheme:reference}}; {closest('', schemes)}"
    if colon and start.lower() in schemes and "${" in rest:
        yield "holds a reference within a reference", None
    elif colon and start.lower() in schemes and (start not in schemes or rest.startswith("//")):
        yield "begins like a reference", f"write {start.lower()}: in small letters, and no // after it"
    for scheme, _ in text.references:
        if scheme not in schemes:
            yield (
                "is or holds a reference of an unknown scheme",
                closest(scheme, schemes) + "; a plain text with a colon can be handed over by env:NAME",
            )


def dsn_faults(dsn: SecretText, *, literal_password: bool) -> Iterator[Fault]:
    """What is wrong with a DSN that is not one whole reference."""
    scheme, found, _ = dsn.raw.partition("://")
    if not found or scheme not in SCHEMES:
        yield "is no database URL", "write postgresql://user@host:5432/database, or a reference such as env:NAME"
        return
    # references become a word, so that their own special characters do no harm
    try:
        parts = urlsplit(_REFERENCE.sub("reference", dsn.raw))
        password = urlsplit(_REFERENCE.sub("", dsn.raw)).password
    except ValueError:
        yield "is no valid URL", _ENCODE
        return
    query = parts.query.split("&") if parts.query else []
    hosts = parts.netloc.rpartition("@")[2]
    if (
        parts.netloc.count("@") > 1
        or "@" in parts.path
        or parts.fragment
        or not all("=" in item for item in query)
        or not all(_HOST.fullmatch(host) for host in hosts.split(",") if "reference" not in host)
    ):
        yield "is no valid URL", _ENCODE
        return
    secret = unquote(password or "") or _query_password(_REFERENCE.sub("", dsn.raw))
    if secret and not literal_password:
        yield "holds a password in plain text, which the policy of this environment does not allow", _REFERENCES
    elif re.match(r"(env|file|awssm|vault):", secret):
        yield "holds a password that looks like a reference", "inside a URL a reference is written ${env:NAME}"


def masked(url: str) -> str:
    """A URL with `***` for every secret that stands in it; references stay readable."""
    if "://" not in url:
        return url if re.fullmatch(r"[a-z]+:[^$]+", url) else "***"
    names: list[str] = []

    def hide(match: re.Match[str]) -> str:
        names.append(match[0])
        return f"reference{len(names) - 1}x"

    try:
        parts = urlsplit(_REFERENCE.sub(hide, url))
    except ValueError:
        return "***"
    account, at, host = parts.netloc.rpartition("@")
    user, colon, password = account.partition(":")
    shown = user + colon + (_hidden(password) if colon else "") + at + host
    pairs = [(key, _hidden(value) if key.lower() in _SECRET_KEYS else value) for key, value in parse_qsl(parts.query)]
    query = urlencode(pairs, safe="*/:")
    # urlunsplit would drop the // of postgresql:///database
    text = f"{parts.scheme}://{shown}{parts.path}" + (f"?{query}" if query else "")
    for index, name in enumerate(names):
        text = text.replace(f"reference{index}x", name)
    return text


def _hidden(text: str) -> str:
    return text if re.fullmatch(r"reference\d+x", text) else "***"


def _well_formed(raw: str) -> str:
    return re.sub(r"\$\{[a-z]+:[^}]+\}", "", raw)


def _query_password(url: str) -> str:
    return next((value for key, value in parse_qsl(urlsplit(url).query) if key.lower() in _SECRET_KEYS), "")
