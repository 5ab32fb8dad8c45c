"""Deterministic UIDs and clearly synthetic patients for test series."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


def uid(seed: int, *parts: str | int) -> str:
    """A UID that is the same for the same seed and parts, in the UUID form of PS3.5 B.2 (`2.25.`)."""
    digest = hashlib.sha256(repr((seed, *parts)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


@dataclass(frozen=True)
class SyntheticPatient:
    """Who the images pretend to show; every value is recognisably invented, so that a leak can be searched for.

    Attributes:
        name: Patient's Name in DICOM notation.
        character_set: values of Specific Character Set (0008,0005); empty for the default repertoire.
        patient_id: Patient ID; empty for none.
        issuer: Issuer of Patient ID; empty for none.
        birth_date: Patient's Birth Date, YYYYMMDD.
        sex: Patient's Sex.
    """

    name: str = "Canary^Synthetic"
    character_set: tuple[str, ...] = ("ISO_IR 100",)
    patient_id: str = "CANARY-0001"
    issuer: str = ""
    birth_date: str = "19010203"
    sex: str = "O"


JAPANESE = SyntheticPatient(name="Yamada^Tarou=山田^太郎=やまだ^たろう", character_set=("", "ISO 2022 IR 87"))
"""The example of PS3.5 H.3.1: ISO 2022 with escapes into JIS X 0208."""
CHINESE = SyntheticPatient(name="Wang^XiaoDong=王^小东", character_set=("GB18030",))
"""The example of PS3.5 J.2."""
UNICODE = SyntheticPatient(name="Müller^Žofie=山田^Ω", character_set=("ISO_IR 192",))
"""UTF-8 with scripts that no single-byte set holds together."""
CYRILLIC = SyntheticPatient(name="Канарейка^Проба", character_set=("ISO_IR 144",))
"""ISO 8859-5."""
NON_LATIN = {"japanese": JAPANESE, "chinese": CHINESE, "unicode": UNICODE, "cyrillic": CYRILLIC}
