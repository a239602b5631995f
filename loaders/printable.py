"""Text of others that is safe on a terminal: what would steer it is written out instead."""

from __future__ import annotations

import re

# C0 and C1 but line ends and tabs, lone surrogates, line and paragraph separators, and what turns the direction of
# writing. Joiners and accents, without which words of some languages cannot be written, are none of them.
_STEERING = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_TEXT, _NAME = re.compile(f"[{_STEERING}]"), re.compile(f"[{_STEERING}\t\n]")


def printable(text: str) -> str:
    """Text with its control characters as Python writes them, such as \\x1b; lines stay lines."""
    return _TEXT.sub(_written, text)


def printable_name(name: str) -> str:
    """A name of a file or a class, on one line."""
    return _NAME.sub(_written, name)


def printable_json(text: str) -> str:
    """JSON that says the same; json.dumps escapes only some of what steers a terminal."""
    return _TEXT.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _written(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
