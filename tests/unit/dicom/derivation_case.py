"""A correction of a synthetic series, ready to be derived."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dicom_node.contracts import (
    Accepts,
    Correction,
    CorrectorSpec,
    Limits,
    Mask,
    ParameterMap,
    RoleInstance,
    Units,
)
from dicom_node.dicom.derive import DerivedSet, derive
from dicom_node.dicom.provenance import Provenance
from dicom_node.dicom.reading import LoadedVolume, read_volume
from dicom_node.dicom.scan import scan
from dicom_node.testing.series import SyntheticSeries


def spec_for(modality: str, axes: str = "zyx", **changes: object) -> CorrectorSpec:
    units = Units.HU if modality == "CT" else Units.MR_SIGNAL
    spec = CorrectorSpec(
        name="probe",
        version="1.2.3",
        api=1,
        title="Probe of derivation",
        inputs={"image": Accepts(modality=modality, units=units, axes=axes)},
        methods={"classical": "Adds a square", "best": "Invents a square"},
        default_method="classical",
        factory="nowhere:build",
        limits={"image": Limits(-1e6, 1e6)},
        synthetic=("best",),
        references=("doi:10.0000/probe",),
    )
    return replace(spec, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Case:
    spec: CorrectorSpec
    loaded: Mapping[str, LoadedVolume]
    correction: Correction
    provenance: Provenance
    sources: tuple[Path, ...]

    def derive(self, folder: Path) -> DerivedSet:
        return derive(self.spec, self.correction, self.loaded, self.provenance, folder)


def make_case(
    series: SyntheticSeries,
    folder: Path,
    *,
    axes: str = "zyx",
    add: float = 100.0,
    companions: bool = False,
    **facts: object,
) -> Case:
    """Correct all slices but the first and last by adding to a square; on wish with a map, a mask and figures."""
    spec = spec_for(series.modality, axes)
    sources = tuple(series.write(folder))
    found = scan([folder]).series
    instances = [RoleInstance(h, {"bin": str(h.get("EchoNumbers") or 0)}) for s in found for h in s.instances]
    loaded = read_volume(instances, spec.inputs["image"])
    pixels = loaded.volume.pixels.copy()
    pixels[..., 1:-1, 10:20, 12:24] += np.float32(add)
    change = (pixels - loaded.volume.pixels).reshape(-1, *loaded.volume.geometry.shape)[0]
    units = loaded.volume.units
    correction = Correction(
        changed=True,
        volumes={"image": loaded.volume.with_pixels(pixels)},
        warnings=("look at the µ",),
    )
    if companions:
        correction = replace(
            correction,
            maps={"change": ParameterMap("image", change, units, "Change by the correction")},
            masks={"metal": Mask("image", change > 0, "Metal implant")},
            quality={"largest_change_hu": tuple(float(c.max()) for c in change)},
            metrics={"changed_fraction": 0.25},
        )
    provenance = Provenance(
        **{
            "spec": spec,
            "method": "classical",
            "parameters": {"strength": 0.5},
            "weights_sha256": "ab" * 32,
            "input_digest": "cd" * 32,
            "created_at": 1_700_000_000.0,
            **facts,
        }  # type: ignore[arg-type]
    )
    return Case(spec, {"image": loaded}, correction, provenance, sources)
