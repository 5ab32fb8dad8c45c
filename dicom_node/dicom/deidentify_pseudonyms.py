"""Other names for patients, UIDs and days by a secret key: the same for the same, and no way back without it."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from typing import Final

from pydicom._uid_dict import UID_dictionary

SHORTEST_KEY: Final = 16
"""Shortest key [bytes]."""
MOST_DAYS: Final = 3650
"""Dates move back by one day at least and by this many at most."""


class Pseudonyms:
    """Pseudonyms of one key; HMAC-SHA-256 throughout (RFC 2104).

    Args:
        key: the secret, at least `SHORTEST_KEY` bytes.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < SHORTEST_KEY:
            raise ValueError(f"the key has {len(key)} bytes, it needs {SHORTEST_KEY}")
        self._key = key

    @property
    def check(self) -> str:
        """Tells one key from another, and nothing more."""
        return self.digest("check")[:16]

    def digest(self, *what: str) -> str:
        """Keyed digest of some texts, lower-case hex."""
        return self._mac(*what).hex()

    def uid(self, value: str) -> str:
        """The UID that stands for another; registered ones (SOP classes, well-known frames of reference) stay.

        A UUID (version 8, RFC 9562) under `2.25` (PS3.5 B.2). What is no UID becomes one too.
        """
        if not value or value in UID_dictionary:
            return value
        raw = bytearray(self._mac("uid", value)[:16])
        raw[6] = (raw[6] & 0x0F) | 0x80
        raw[8] = (raw[8] & 0x3F) | 0x80
        return f"2.25.{uuid.UUID(bytes=bytes(raw)).int}"

    def patient(self, patient_key: str) -> str:
        """Name and ID of a patient: `P` and 16 hex digits."""
        return f"P{self.digest('patient', patient_key)[:16].upper()}"

    def days(self, patient_key: str) -> int:
        """By how many days all dates of a patient move; from -3650 to -1."""
        return -1 - int.from_bytes(self._mac("days", patient_key)[:8], "big") % MOST_DAYS

    def _mac(self, *what: str) -> bytes:
        return hmac.new(self._key, "\0".join(what).encode("utf-8", "surrogatepass"), hashlib.sha256).digest()
