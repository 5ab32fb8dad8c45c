"""ASCII text for headers whose character set is the source's, and raw bytes that must not be re-encoded."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

LO_BYTES = 64
"""Longest LO value [bytes]; PS3.5 6.2 counts characters, many receivers count bytes."""
ST_BYTES = 1024
"""Longest ST value [bytes]."""
_DELIMITERS = frozenset("\\\r\n\f\x1b")
_LONGEST_CHARACTER = 4
"""UTF-8 and GB18030 [bytes]."""
_ESCAPE = b"\x1b"
_BACK_TO_ASCII = (b"\x1b(B", b"\x1b(J")


def ascii_text(text: str, limit: int | None = None, *, multiline: bool = False) -> str:
    """Make text safe in any Specific Character Set: printable ASCII, without backslash.

    Every DICOM character set encodes ASCII letters as themselves; we add nothing else to a foreign header.

    Args:
        text: any text.
        limit: longest result [characters].
        multiline: keep line breaks and backslashes (LT, ST, UT hold a single value).
    """
    plain = unicodedata.normalize("NFKD", text.replace("µ", "u")).encode("ascii", "replace").decode("ascii")
    kept = "".join(
        c for c in plain if (c >= " " or (multiline and c in "\r\n")) and (multiline or c not in _DELIMITERS)
    )
    return kept if limit is None else kept[:limit]


def prefixed(prefix: str, raw: bytes, codecs: Sequence[str], limit: int = LO_BYTES) -> bytes:
    """Put an ASCII prefix before encoded text, without decoding and re-encoding it.

    Args:
        prefix: ASCII.
        raw: the value as it stands in the file.
        codecs: Python codecs of the file's Specific Character Set (`raw.character_set`).
        limit: longest result [bytes]; the end of `raw` is cut at a character boundary.

    Returns:
        The bytes, of even length.
    """
    head = prefix.encode("ascii")[:limit]
    body = cut(raw.rstrip(b" \0"), limit - len(head), codecs)
    value = (head + body).rstrip(b" ") if not body else head + body
    return value + b" " * (len(value) % 2)


def cut(raw: bytes, limit: int, codecs: Sequence[str]) -> bytes:
    """Shorten encoded text to `limit` bytes without splitting a character or leaving a code extension open.

    Values of ISO 2022 sets must end in the initial state (PS3.5 6.1.2.5.3): those with escape sequences are cut
    only before the first one or after a return to ASCII.
    """
    if len(raw) <= limit:
        return raw
    if _ESCAPE in raw:
        return raw[: _escape_free_end(raw, limit)]
    for end in range(limit, max(limit - _LONGEST_CHARACTER, 0), -1):
        try:
            raw[:end].decode(codecs[0])
            raw[end:].decode(codecs[0])
        except (UnicodeDecodeError, LookupError):
            continue
        return raw[:end]
    return raw[:limit]  # not text of its own character set to begin with


def _escape_free_end(raw: bytes, limit: int) -> int:
    first = raw.index(_ESCAPE)
    if first >= limit:
        return limit
    safe = first
    position = first
    while position < limit:
        if any(raw.startswith(mark, position) for mark in _BACK_TO_ASCII):
            run_end = raw.find(_ESCAPE, position + 3)
            run_end = len(raw) if run_end < 0 else run_end
            if position + 3 <= limit:
                safe = min(run_end, limit)
        following = raw.find(_ESCAPE, position + 1)
        if following < 0:
            break
        position = following
    return safe
