"""Series that a soak run pushes: small, each of a patient of its own, every pixel of it recognisable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from light_sender import Instance
from pydicom import dcmread
from pydicom.uid import CTImageStorage
from soak_corrector import CHANGE_HU

from dicom_node.testing.identity import SyntheticPatient, uid
from dicom_node.testing.series import SyntheticSeries

ROWS = 24
_PREAMBLE = 144
"""Bytes of a DICOM file up to and including the group length of its meta information (PS3.10 7.1)."""


@dataclass(frozen=True)
class Study:
    """One series.

    Attributes:
        patient_id: nobody else has it.
        instances: in slice order.
        files: the same as files; none for what cannot be read.
    """

    patient_id: str
    instances: tuple[Instance, ...]
    files: tuple[Path, ...]

    @property
    def readable(self) -> bool:
        """Whether it can be archived."""
        return bool(self.files)

    @property
    def uids(self) -> set[str]:
        """SOP Instance UIDs."""
        return {one.sop_instance_uid for one in self.instances}

    def corrected(self) -> dict[str, bytes]:
        """By SOP Instance UID of the original: Pixel Data of what must be derived from it."""
        return {
            str(dataset.SOPInstanceUID): (np.frombuffer(dataset.PixelData, "<u2") + np.uint16(CHANGE_HU)).tobytes()
            for dataset in map(dcmread, self.files)
        }


def make(folder: Path, seed: int, number: int, slices: int, *, description: str = "SYNTHETIC SERIES") -> Study:
    """Write the series into a folder, as storescu would read it."""
    noise = np.random.default_rng((seed, number)).integers(0, 2000, (slices, ROWS, ROWS))
    patient_id = f"SOAK-{seed}-{number}"
    series = SyntheticSeries(
        modality="CT",
        slices=slices,
        rows=ROWS,
        columns=ROWS,
        stored=noise,
        series_description=description,
        patient=SyntheticPatient(patient_id=patient_id),
        seed=1_000_003 * (seed + 1) + number,
    )
    files = tuple(series.write(folder))
    return Study(patient_id, tuple(Instance.of(dcmread(path)) for path in files), files)


def make_poison(seed: int, number: int) -> Study:
    """One instance whose data set is noise."""
    noise = np.random.default_rng((seed, number)).bytes(3000)
    instance = Instance(str(CTImageStorage), uid(seed, "poison", number), noise)
    return Study(f"POISON-{seed}-{number}", (instance,), ())


def data_set_of(file: Path) -> bytes:
    """The bytes behind the file meta information of a DICOM file."""
    content = file.read_bytes()
    assert content[128:132] == b"DICM", f"{file} is no DICOM file"
    return content[_PREAMBLE + int.from_bytes(content[_PREAMBLE - 4 : _PREAMBLE], "little") :]
