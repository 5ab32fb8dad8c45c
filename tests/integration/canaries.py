"""Studies whose every identifying attribute carries a canary, and a search for them in whatever encoding."""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import hip_study
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence

from dicom_node.testing.identity import CYRILLIC, SyntheticPatient

STEM = "CANARY"
BIRTH_DATE = "19170313"
PHONE = "+49 30 90180399"
PATIENTS = (
    SyntheticPatient(
        "CANARY^NAME=山田^太郎=やまだ^たろう", ("", "ISO 2022 IR 87"), "CANARYID1", "CANARYISSUER", BIRTH_DATE
    ),
    SyntheticPatient("CANARY^Kanariénvögelchen", ("ISO_IR 100",), "CANARYID2", birth_date=BIRTH_DATE),
    SyntheticPatient("CANARY^Žluťásek^金糸雀", ("ISO_IR 192",), "CANARYID3", birth_date=BIRTH_DATE),
    SyntheticPatient(f"CANARY^{CYRILLIC.name}", CYRILLIC.character_set, "CANARYID4", birth_date=BIRTH_DATE),
    SyntheticPatient("CANARY^Hong=洪^吉洞=홍^길동", ("", "ISO 2022 IR 149"), "CANARYID5", birth_date=BIRTH_DATE),
    SyntheticPatient("CANARY^王^小东", ("GB18030",), "CANARYID6", birth_date=BIRTH_DATE),
)
SECRETS = (
    STEM, BIRTH_DATE, PHONE, "山田", "太郎", "やまだ", "Kanariénvögelchen", "Žluťásek", "金糸雀", "Канарейка", "吉洞",
    "길동", "小东",
)  # fmt: skip
"""What may nowhere be found; the stem stands in every attribute."""
_SETS = (
    "utf-8", "latin-1", "utf-16-le", "utf-16-be", "shift_jis", "euc_jp", "iso2022_jp", "iso8859_5", "euc_kr", "gb18030",
)  # fmt: skip


@dataclass(frozen=True)
class Trace:
    """A canary that got out."""

    secret: str
    how: str
    around: bytes


def write_study(
    folder: Path, patient: SyntheticPatient, description: str, *, seed: int, gantry_tilt: float = 0.0
) -> list[Path]:
    """A small hip CT of somebody whose every attribute is a canary.

    Args:
        folder: where to.
        patient: whose.
        description: Series Description, which routes it.
        seed: of the UIDs.
        gantry_tilt: in degrees; a tilted gantry is refused by the hip corrector.
    """
    folder.mkdir(parents=True)
    series = replace(
        hip_study.hip_series(6, (2, 3), seed=seed), patient=patient, series_description=description,
        study_description="CANARY STUDY", protocol_name="CANARY PROTOCOL", tags={"GantryDetectorTilt": gantry_tilt},
    )  # fmt: skip
    paths = []
    for number, dataset in enumerate(series.datasets()):
        identify(dataset, str(patient.name))
        paths.append(folder / f"{number:04d}.dcm")
        dataset.save_as(paths[-1])
    return paths


def identify(dataset: FileDataset, name: str) -> None:
    """Put canaries wherever a person, a place, an order or free text may be named."""
    for keyword in (
        "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "ReferringPhysicianName",
        "PerformingPhysicianName", "OperatorsName", "NameOfPhysiciansReadingStudy", "PhysiciansOfRecord",
    ):  # fmt: skip
        setattr(dataset, keyword, name)
    for keyword in (
        "OtherPatientIDs", "PatientAddress", "EthnicGroup", "Occupation", "PatientComments", "MilitaryRank",
        "AdditionalPatientHistory", "AccessionNumber", "StudyID", "AdmissionID", "InstitutionName",
        "InstitutionAddress", "InstitutionalDepartmentName", "RequestingPhysician", "ImageComments",
        "RequestedProcedureDescription", "PerformedProcedureStepDescription", "CountryOfResidence", "Allergies",
        "MedicalAlerts", "DerivationDescription", "AcquisitionDeviceProcessingDescription",
    ):  # fmt: skip
        setattr(dataset, keyword, f"{STEM} {keyword}"[:16])
    dataset.PatientTelephoneNumbers = PHONE
    order = Dataset()
    order.RequestedProcedureID = f"{STEM}ORDER"
    order.ScheduledProcedureStepDescription = f"{STEM} STEP"
    dataset.RequestAttributesSequence = Sequence([order])
    private = dataset.private_block(0x0031, f"{STEM} PRIVATE", create=True)
    private.add_new(0x01, "LO", f"{STEM} PRIVATE TEXT")
    private.add_new(0x02, "OB", f"{STEM} PRIVATE BYTES".encode("utf-16-le"))
    dataset.add_new(0x60000010, "US", 8)
    dataset.add_new(0x60000011, "US", 16)
    dataset.add_new(0x60000022, "LO", f"{STEM} OVERLAY")
    dataset.add_new(0x60000040, "CS", "G")
    dataset.add_new(0x60000050, "SS", [1, 1])
    dataset.add_new(0x60000100, "US", 1)
    dataset.add_new(0x60000102, "US", 0)
    dataset.add_new(0x60001500, "LO", f"{STEM} LABEL")
    dataset.add_new(0x60003000, "OW", f"{STEM} IN THE PICTURE"[:16].encode())


def traces(data: bytes) -> list[Trace]:
    """Every canary in some bytes: plain in many character sets, escaped, in hexadecimal, in base64."""
    folded = data.lower()
    found = []
    for secret, how, needle, exact in _needles():
        at = (data if exact else folded).find(needle)
        if at >= 0:
            found.append(Trace(secret, how, data[max(0, at - 80) : at + 80]))
    return found


@cache
def _needles() -> tuple[tuple[str, str, bytes, bool], ...]:
    """Secret, encoding, what to look for, and whether its case counts."""
    return tuple(needle for secret in SECRETS for needle in _needles_of(secret))


def _needles_of(secret: str) -> Iterator[tuple[str, str, bytes, bool]]:
    seen = set()
    for name in _SETS:
        try:
            raw = secret.encode(name)
        except UnicodeEncodeError:
            continue
        if len(raw) < 4 or raw in seen:
            continue
        seen.add(raw)
        yield secret, name, raw.lower(), False
        yield secret, f"{name} in hexadecimal", raw.hex().encode(), False
        for offset in range(3):
            # Whole groups of three bytes only: those at the ends depend on what stands beside them.
            coded = base64.b64encode(bytes(offset) + raw)[4 if offset else 0 : -4]
            if len(coded) >= 4 and len(raw) > 5:
                yield secret, f"{name} in base64", coded, True
    if not secret.isascii():
        yield secret, "escaped by JSON", json.dumps(secret)[1:-1].encode().lower(), False
        yield secret, "escaped by Python", ascii(secret)[1:-1].encode().lower(), False
        yield secret, "escaped as in a URL", urllib.parse.quote(secret).encode().lower(), False
