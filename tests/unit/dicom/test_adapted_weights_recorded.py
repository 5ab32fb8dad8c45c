"""The digest of weights that were fitted to a patient stands in everything that was derived with them."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from derivation_case import make_case

from dicom_node.contracts import Correction, FileRef
from dicom_node.dicom.derived import Derived, read_derived
from dicom_node.dicom.headers import read_header
from dicom_node.dicom.private_block import ADAPTED_WEIGHTS, read_block
from dicom_node.testing.series import SyntheticSeries

SHA = "0f" * 32


def derived(folder: Path, **facts: object) -> tuple[list[Path], list[Derived]]:
    case = make_case(SyntheticSeries(slices=3), folder / "in", companions=True, **facts)
    files = [file.path for series in case.derive(folder / "out").series for file in series.files]
    return files, [read_derived(read_header(FileRef(path))) for path in files]


def test_it_stands_beside_the_package_s_in_every_output(tmp_path: Path) -> None:
    files, found = derived(tmp_path, adapted_weights_sha256=SHA)
    assert {one.role for one in found} == {"image", "map:change", "mask:metal", "report"}
    assert {(one.recipe.weights_sha256, one.adapted_weights_sha256) for one in found} == {("ab" * 32, SHA)}
    said = pydicom.dcmread(files[0]).DerivationDescription
    assert f"weights SHA-256 {'ab' * 32} fitted on to this patient (SHA-256 {SHA})" in said


def test_it_is_left_out_where_nothing_was_fitted(tmp_path: Path) -> None:
    files, found = derived(tmp_path)
    assert {one.adapted_weights_sha256 for one in found} == {""}
    assert all(ADAPTED_WEIGHTS.name not in read_block(pydicom.dcmread(path)) for path in files)
    assert "fitted" not in pydicom.dcmread(files[0]).DerivationDescription


def test_it_names_no_instance(tmp_path: Path) -> None:
    """It follows from the input, so that a job repeated on another machine still gives the same UIDs."""
    plain, fitted = derived(tmp_path / "a")[1], derived(tmp_path / "b", adapted_weights_sha256=SHA)[1]
    assert [one.header.sop_instance_uid for one in plain] == [one.header.sop_instance_uid for one in fitted]


@pytest.mark.parametrize("digest", ["abc", "0F" * 32, "0f" * 32 + "\n", "CANARY^NAME"])
def test_nothing_but_a_digest_is_taken(digest: str) -> None:
    with pytest.raises(ValueError, match="64 lower-case hex digits"):
        Correction(changed=False, reason="nothing to do", adapted_weights_sha256=digest)
