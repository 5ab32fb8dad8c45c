"""The hip CT corrector keeps what the host asks of every corrector."""

from __future__ import annotations

from collections.abc import Mapping

from hip_scenes import ANGLES, pelvis, simulated, volume

from correctors.hipct.plugin import SPEC
from dicom_node.contracts import Volume
from dicom_node.testing.conformance import CorrectorConformance


class TestHipCtConformance(CorrectorConformance):
    spec = SPEC
    spec_module = "correctors.hipct.plugin"
    parameters = {"n_angles": ANGLES}  # noqa: RUF012

    def make_inputs(self) -> Mapping[str, Volume]:
        return {"ct": volume([pelvis(), simulated("cobalt", 15.0).artefact[0].numpy(), pelvis()])}

    def clean_slices(self) -> Mapping[str, tuple[int, ...]]:
        return {"ct": (0, 2)}

    def make_clean_inputs(self) -> Mapping[str, Volume]:
        return {"ct": volume([pelvis(), pelvis()])}

    def make_refused_inputs(self) -> Mapping[str, Mapping[str, Volume]]:
        slices = [simulated("cobalt", 15.0).artefact[0].numpy()]
        return {"derived": {"ct": volume(slices, tags={"ImageType": ("DERIVED", "SECONDARY", "AXIAL")})}}
