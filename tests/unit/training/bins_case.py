"""A small corrector that combines spectral bins of two polarities, with its training side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from evaluation_case import SPEC, MemoryContext, Spots, volume
from scipy.ndimage import gaussian_filter

from dicom_node.contracts import Accepts, Correction, CorrectionRefused, CorrectorSpec, ReadImage, Units, Volume
from dicom_node.errors import InputError
from training.lesions import LesionTwin
from training.subject import Scale, SimulatedCase

BINS = 3
ACCEPTS = Accepts(modality="MR", units=Units.MR_SIGNAL, axes="bzyx")
SPEC_OF_BINS: CorrectorSpec = replace(
    SPEC,
    inputs={"plus": ACCEPTS, "minus": ACCEPTS},
    methods={"mean": "both", "smooth": "both, smoothed", "shy": "refuses", "raw": "gives bins back"},
    default_method="mean",
    weights={},
    limits=dict.fromkeys(("plus", "minus"), SPEC.limits["image"]),
)


def binned(image: Volume, error: np.ndarray) -> Volume:
    """The image in three bins whose root sum of squares it is, with an error."""
    pixels = np.clip(image.pixels + error, 0, None) / np.sqrt(BINS)
    return replace(image, pixels=np.repeat(pixels[None], BINS, axis=0).astype(np.float32), axes="bzyx")


def combined(bins: Volume) -> Volume:
    """Root sum of squares of the bins."""
    pixels = np.sqrt((bins.pixels.astype(np.float64) ** 2).sum(axis=0))
    return replace(bins, pixels=pixels.astype(np.float32), axes="zyx")


class Bins(Spots):
    """Noise of 60 in a band `near`, of 10 in all the rest, other noise in each polarity; slices 1 and 2."""

    scales: Mapping[str, Scale] = {"plus": Scale(Units.MR_SIGNAL, (0.0, 1000.0), (0.0, 800.0), 200.0)}
    role_tags: Mapping[str, Mapping[str, str]] = {"plus": {"ProtocolName": "RO+"}, "minus": {"ProtocolName": "RO-"}}
    baseline: str | None = "mean"

    def __init__(self, *, lesions: bool = False) -> None:
        self.lesions, self.made = lesions, 0

    def procedural(self, seed: int) -> Mapping[str, Volume]:
        return {"clean": volume(seed)}

    def clean(self, image: Volume) -> Mapping[str, Volume]:
        return {"clean": image}

    def shown(self, artefact: Mapping[str, Volume]) -> Mapping[str, Volume]:
        return {"plus": combined(artefact["plus"])}

    def simulate(self, clean: Mapping[str, Volume], *, scenario: str, seed: int) -> SimulatedCase:
        self.made += 1
        truth = clean["clean"]
        near = np.zeros(truth.shape, bool)
        near[:, :, 18:30] = True
        excluded = np.zeros(truth.shape, bool)
        excluded[1:3, 20:24, 22:26] = True
        rng = np.random.default_rng(seed)
        errors = [np.where(near, 60, 10) * rng.standard_normal(truth.shape) for _ in range(2)]
        for error in errors:
            error[[0, -1]] = 0
            error[excluded] = 5000
        artefact = {role: binned(truth, error) for role, error in zip(("plus", "minus"), errors, strict=True)}
        references = {"oracle": {"plus": truth.with_pixels(truth.pixels + 1)}}
        if self.made == 1:
            references["seldom"] = {"plus": truth}
        case = SimulatedCase(
            artefact,
            {"plus": truth},
            {"plus": excluded},
            (1, 2),
            scenario,
            references=references,
            regions={"near": {"plus": near}, "far": {"plus": ~near}},
        )
        return replace(case, twin=self._twin(truth, errors)) if self.lesions else case

    def _twin(self, truth: Volume, errors: Sequence[np.ndarray]) -> LesionTwin:
        labels = np.zeros(truth.shape, np.int32)
        labels[1:3, 34:40, 34:40] = 1
        without = truth.with_pixels(truth.pixels - 40 * (labels > 0))
        artefact = {role: binned(without, error) for role, error in zip(("plus", "minus"), errors, strict=True)}
        return LesionTwin(artefact, {"plus": without}, {"plus": labels})

    def judge(self, artefact: Mapping[str, Volume], truth: Mapping[str, Volume]) -> SimulatedCase:
        excluded = combined(artefact["plus"]).pixels > 2500
        return SimulatedCase(artefact, truth, {"plus": excluded}, (1, 2), "given pair")


class Combiner:
    """Combines both polarities."""

    def __init__(self, method: str) -> None:
        self.method = method

    def correct(self, inputs: Mapping[str, Volume]) -> Correction:
        if self.method == "shy":
            raise CorrectionRefused("too many bins")
        plus, minus = (combined(inputs[role]) for role in ("plus", "minus"))
        mean = plus.with_pixels((plus.pixels + minus.pixels) / 2)
        if self.method == "smooth":
            high = mean.pixels > 2500
            calm = gaussian_filter(np.where(high, np.median(mean.pixels), mean.pixels), (0, 1, 1))
            mean = mean.with_pixels(np.where(high, mean.pixels, calm))
        return Correction(changed=True, volumes={"plus": inputs["plus"] if self.method == "raw" else mean})


@dataclass
class BinsContext(MemoryContext):
    """Input sets of two images that lie one after the other."""

    def read_roles(self, inputs: Sequence[Path], corrector: str) -> list[Mapping[str, ReadImage]]:
        images = self.read(inputs)
        if len(images) != 2:
            raise InputError("no set")
        return [dict(zip(("plus", "minus"), images, strict=True))]

    def spec(self, corrector: str) -> CorrectorSpec:
        return SPEC_OF_BINS

    def build(self, corrector: str, method: str, **_: object) -> Combiner:
        return Combiner(method)
