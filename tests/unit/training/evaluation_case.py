"""A small corrector with its training side, and a context in memory: evaluation without DICOM and without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from dicom_node.contracts import (
    Accepts,
    Correction,
    CorrectionRefused,
    CorrectorSpec,
    FoundImage,
    FoundImages,
    Geometry,
    LeftOut,
    Limits,
    ReadImage,
    Units,
    Volume,
    WeightsRef,
)
from dicom_node.errors import InputError, UnusableSeries, WeightsError
from training.subject import Scale, SimulatedCase

SIDE, SLICES = 48, 4
SPEC = CorrectorSpec(
    name="spots",
    version="1.2.3",
    api=1,
    title="Spots",
    inputs={"image": Accepts(modality="MR", units=Units.MR_SIGNAL, needs=("EchoTime",), wants=("ProtocolName",))},
    methods={"good": "removes", "poor": "removes half", "none": "finds nothing", "shy": "refuses", "net": "a network"},
    default_method="good",
    factory="nowhere:build",
    limits={"image": Limits(0, 1e6)},
    weights={"net": WeightsRef("nowhere", "weights/net", "ab" * 32)},
)


def volume(seed: int, slices: int = SLICES, **fields: object) -> Volume:
    """A smooth random image, values about 0 to 1000."""
    rng = np.random.default_rng(seed)
    pixels = gaussian_filter(rng.standard_normal((slices, SIDE, SIDE)), (0, 2, 2)) * 800 + 500
    geometry = Geometry(
        (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (1.0, 1.0), tuple((0.0, 0.0, 3.0 * z) for z in range(slices)), SIDE, SIDE, 3.0
    )
    return Volume(np.clip(pixels, 0, 1000).astype(np.float32), Units.MR_SIGNAL, geometry, **fields)


class Spots:
    """Subject: adds a bright spot and noise to slices 1 and 2; 5000 in the corner is unusable."""

    corrector = "spots"
    scenarios: Mapping[str, str] = {"plain": "one spot", "strong": "a brighter spot"}
    scales: Mapping[str, Scale] = {"image": Scale(Units.MR_SIGNAL, (0.0, 1000.0), (0.0, 800.0), 200.0)}
    routing_tags: Mapping[str, str] = {"SeriesDescription": "spots"}
    role_tags: Mapping[str, Mapping[str, str]] = {}
    baseline: str | None = None
    default_recipe = Path("none.yaml")

    def procedural(self, seed: int) -> Mapping[str, Volume]:
        return {"image": volume(seed)}

    def clean(self, image: Volume) -> Mapping[str, Volume]:
        if image.pixels[0, 0, 0] == 5000:
            raise UnusableSeries("it has a spot already")
        return {"image": image}

    def simulate(self, clean: Mapping[str, Volume], *, scenario: str, seed: int) -> SimulatedCase:
        truth = clean["image"]
        rng = np.random.default_rng(seed)
        pixels = truth.pixels.copy()
        pixels[1:3] += rng.normal(0, 40 if scenario == "plain" else 80, pixels[1:3].shape)
        pixels[1:3, 10:14, 10:14] = 3000
        excluded = np.zeros(pixels.shape, bool)
        excluded[1:3, 10:14, 10:14] = True
        return SimulatedCase(
            {"image": truth.with_pixels(pixels)}, {"image": truth}, {"image": excluded}, (1, 2), f"{scenario} spot"
        )

    def shown(self, artefact: Mapping[str, Volume]) -> Mapping[str, Volume]:
        return artefact

    def judge(self, artefact: Mapping[str, Volume], truth: Mapping[str, Volume]) -> SimulatedCase:
        excluded = artefact["image"].pixels > 2500
        if not excluded.any():
            raise UnusableSeries("there is no spot")
        slices = tuple(int(z) for z in np.flatnonzero(excluded.any(axis=(1, 2))))
        return SimulatedCase(artefact, truth, {"image": excluded}, slices, "given pair")


class Smoother:
    """Smooths around the spot, by as much as its method says."""

    def __init__(self, method: str) -> None:
        self.method = method

    def correct(self, inputs: Mapping[str, Volume]) -> Correction:
        image = inputs["image"]
        if self.method == "none":
            return Correction(changed=False, reason="no spot found")
        if self.method == "shy":
            raise CorrectionRefused("too many spots")
        sigma = {"good": 1.0, "poor": 0.4, "net": 1.2}[self.method]
        spot = image.pixels > 2500
        smooth = gaussian_filter(np.where(spot, np.median(image.pixels), image.pixels), (0, sigma, sigma))
        return Correction(changed=True, volumes={"image": image.with_pixels(np.where(spot, image.pixels, smooth))})


@dataclass
class MemoryContext:
    """Images by path; what is written is kept in `written`."""

    images: Mapping[str, list[ReadImage]] = field(default_factory=dict)
    written: dict[Path, Volume] = field(default_factory=dict)
    writing: list[dict[str, object]] = field(default_factory=list)
    loaded_tags: list[tuple[str, ...]] = field(default_factory=list)

    def find(self, inputs: Sequence[Path], *, modality: str | None = None) -> FoundImages:
        found = [
            FoundImage(image.label, image.patient, "MR", image.volume.shape[0], (image.label,), image)
            for path in inputs
            for image in self.images[str(path)]
        ]
        return FoundImages(tuple(found), (LeftOut("scout", f"Modality is not {modality}"),))

    def load(self, found: FoundImage, *, tags: Sequence[str] = (), modality: str | None = None) -> ReadImage:
        self.loaded_tags.append(tuple(tags))
        assert isinstance(found.handle, ReadImage)
        return found.handle

    def read(self, inputs: Sequence[Path], *, modality: str | None = None, tags: Sequence[str] = ()) -> list[ReadImage]:
        return [image for path in inputs for image in self.images[str(path)]]

    def read_roles(self, inputs: Sequence[Path], corrector: str) -> list[Mapping[str, ReadImage]]:
        images = self.read(inputs)
        if not images:
            raise InputError(f"nothing that {corrector} takes was found")
        return [{"image": image} for image in images]

    def write(self, volume: Volume, folder: Path, *, like: object = None, tags: object = None, seed: int = 0) -> list:
        assert folder not in self.written
        self.written[folder] = volume
        self.writing.append({"folder": folder, "like": like, "tags": tags, "seed": seed})
        return [folder / f"{z:04d}.dcm" for z in range(int(np.prod(volume.shape[:-2])))]

    def spec(self, corrector: str) -> CorrectorSpec:
        assert corrector == "spots"
        return SPEC

    def build(self, corrector: str, method: str, *, device: str = "auto", weights: Path | None = None, **_: object):
        if method == "net" and weights is None:
            raise WeightsError("spots/net needs a weights package, and none is installed")
        return Smoother(method)


def image(seed: int, patient: str = "", *, unusable: bool = False, template: object = None, slices: int = SLICES):
    """An image in memory."""
    made = volume(seed, slices)
    if unusable:
        pixels = made.pixels.copy()
        pixels[0, 0, 0] = 5000
        made = made.with_pixels(pixels)
    return ReadImage(made, template, f"image{seed}", patient)


def moved(read: ReadImage, by_mm: float) -> ReadImage:
    """The same somewhere else."""
    geometry = read.volume.geometry
    origins = tuple((x + by_mm, y, z) for x, y, z in geometry.slice_origins_mm)
    return replace(read, volume=replace(read.volume, geometry=replace(geometry, slice_origins_mm=origins)))


class Lines:
    """A `CommandOutput` that keeps what it was given."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self.lines: list[str] = []
        self.tables: dict[str, list[list[object]]] = {}
        self.documents: list[dict] = []
        self.told: list[tuple[str, int, int]] = []

    def document(self, value: dict) -> None:
        self.documents.append(value)

    def line(self, text: str) -> None:
        self.lines.append(text)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        assert all(len(row) == len(columns) for row in rows)
        self.tables[title] = [list(row) for row in rows]

    @contextmanager
    def progress(self):
        yield lambda what, done, total: self.told.append((what, done, total))
