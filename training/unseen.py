"""Which patients a weights package has not seen."""

from __future__ import annotations

from pathlib import Path

import yaml

from dicom_node.errors import InputError, WeightsError
from training.cases import Patients

DESCRIPTION = "model.yaml"
_SEEN = ("training", "validation")


def unseen(patients: Patients, package: Path) -> Patients:
    """Patients of whom the package was neither trained nor chosen on any series.

    Args:
        patients: found in the data.
        package: weights package that `train` wrote; its `model.yaml` lists the series of each part.

    Raises:
        WeightsError: it is no such package.
        InputError: it has seen all of them.
    """
    path = package / DESCRIPTION
    try:
        parts = yaml.safe_load(path.read_text(encoding="utf-8"))["training_data"]
        seen = {str(series) for part in _SEEN for series in parts[part]["series"]}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, KeyError, TypeError) as error:
        raise WeightsError(f"{path} does not list the series that it was trained on") from error
    familiar = {patient for patient, image in patients.images if image.label in seen}
    kept = tuple((patient, image) for patient, image in patients.images if patient not in familiar)
    if not kept:
        raise InputError(f"the package {package} has seen every patient in the data")
    return Patients(kept, patients.left_out)
