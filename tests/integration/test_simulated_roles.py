"""Series of several roles, as `simulate` writes them: one study, and bins that are told apart."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_node.compose.command_context import NodeCommandContext
from dicom_node.contracts import Units
from training.commands import simulate, simulate_run

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "training"))

from bins_case import BINS, SPEC_OF_BINS, Bins
from evaluation_case import Lines, volume


class Context(NodeCommandContext):
    """The node's own reader and writer, with a corrector that is not installed."""

    def spec(self, corrector: str):
        return SPEC_OF_BINS


def test_both_polarities_and_the_truth_are_one_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate_run, "subject_of", lambda name: Bins())
    context = Context()
    context.write(volume(1), tmp_path / "clean", seed=3)
    parser = argparse.ArgumentParser()
    simulate.configure(parser)
    arguments = parser.parse_args(["spots", str(tmp_path / "clean"), "--out", str(tmp_path / "made"), "--seed", "5"])
    simulate_run.run(context, arguments, Lines())
    headers = {
        name: [pydicom.dcmread(path) for path in sorted((tmp_path / "made" / name).glob("*.dcm"))]
        for name in ("artefact/plus", "artefact/minus", "truth")
    }
    every = [one for own in headers.values() for one in own]
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID"):
        assert len({one[keyword].value for one in every}) == 1
    assert every[0].PatientID != pydicom.dcmread(next((tmp_path / "clean").iterdir())).PatientID
    assert len({one.SeriesInstanceUID for one in every}) == 3
    assert len({one.SOPInstanceUID for one in every}) == len(every) == (2 * BINS + 1) * 4
    assert {one.ProtocolName for one in headers["artefact/plus"]} == {"RO+"}
    assert {one.ProtocolName for one in headers["artefact/minus"]} == {"RO-"}
    assert [int(one.EchoNumbers) for one in headers["artefact/plus"]] == [1] * 4 + [2] * 4 + [3] * 4
    assert all("ProtocolName" not in one for one in headers["truth"])
    (truth,) = context.read([tmp_path / "made" / "truth"], modality="MR")
    assert truth.volume.units is Units.MR_SIGNAL
    assert np.abs(truth.volume.pixels - volume(1).pixels).max() < 1
