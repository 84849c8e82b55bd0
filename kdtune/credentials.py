"""Passwords, keys and tokens in texts: found, so that none is kept, logged or shown."""

import re

_NAME = (
    r"[\w.-]*(?:signature|credential|token|secret|passw(?:or)?d|pwd|"
    r"access_?key(?:_?id)?|api_?key)[\w.-]*|sig"
)
_CREDENTIALS = (
    # user:password@ of a URI; a password may hold anything, unless it is a port and a path.
    (re.compile(r"://(?:[^\s/:@]+:(?!\d+(?:[/?#]|$))\S*|[^\s/?#]*)@"), "://***@"),
    # name=value of signed URLs and shells, "name": "value" of JSON.
    (re.compile(rf"(?i)(?<![\w.-])({_NAME})=(['\"]?)(?!\*\*\*)[^\s&;'\"]+"), r"\1=\2***"),
    (re.compile(rf"(?i)(['\"](?:{_NAME})['\"]\s*:\s*['\"])(?!\*\*\*)[^'\"]+"), r"\1***"),
    (re.compile(r"(?i)\b(bearer|authorization\W+basic)\s+[\w.~+/=-]{8,}"), r"\1 ***"),
    # What those who give out keys begin them with.
    (
        re.compile(r"\b(?:(?:AKIA|ASIA)[0-9A-Z]{16}|(?:gh[opsu]_|hf_|glpat-|dapi)[\w-]{20,})\b"),
        "***",
    ),
)


def without_credentials(text: str) -> str:
    """``text`` with all credentials in it blanked out: of URIs, signed URLs, and by their names."""
    for pattern, blank in _CREDENTIALS:
        text = pattern.sub(blank, text)
    return text
