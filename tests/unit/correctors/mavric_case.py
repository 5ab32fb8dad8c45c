"""Small dual-polarity acquisitions whose truth is known, and packages of weights, for the tests of the corrector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import save_file
from scipy import ndimage
from torch import Tensor, nn

from correctors.mavric.evidence import Acquired
from correctors.mavric.infer import build
from correctors.mavric.plugin import SPEC
from dicom_node.contracts import Corrector, Geometry, ParameterValue, TagValue, Units, Volume
from simulation.dipole import off_resonance_hz
from simulation.mavric import Bins, MavricAcquisition, acquire, undistorted
from simulation.mavric_scene import MavricScene, make_scene
from simulation.off_resonance import Splat

VOXEL_MM = (4.0, 1.5, 1.5)
UNIT = 1000.0
FEW = Bins(12)
"""Half as many as the paper's: enough for titanium."""


@dataclass(frozen=True)
class Case:
    """A ball of metal of 9 mm radius in a round body of textured tissue, or none at 0 ppm.

    Attributes:
        ppm: its susceptibility; 180 is titanium, 900 cobalt-chromium.
        bandwidth: Pixel Bandwidth [Hz/pixel].
        noise: standard deviation of real and imaginary part in a bin's image.
        bins: which bins.
        slices: how many, in the middle.
        side: pixels a side.
    """

    ppm: float = 180.0
    bandwidth: float = 500.0
    noise: float = 0.01
    bins: Bins = FEW
    slices: int = 3
    side: int = 64

    @property
    def scene(self) -> MavricScene:
        return _scene(self.ppm, self.slices, self.side)

    @property
    def acquired(self) -> Acquired:
        return _acquired(self)

    @property
    def truth(self) -> Tensor:
        """What the combined image would be without distortion and noise, (z, y, x)."""
        return undistorted(self.scene.signal, self.scene.off_resonance_hz, self.bins)

    def within(self, mm: float) -> Tensor:
        """Voxels outside metal, no farther from it, whose frequency the bins reach."""
        away = ndimage.distance_transform_edt(~self.scene.metal, sampling=VOXEL_MM)
        reached = torch.from_numpy(self.scene.true_hz).abs() < self.bins.reach_hz
        return torch.from_numpy((away > 0) & (away < mm)) & reached

    def everywhere(self) -> Tensor:
        return torch.from_numpy(~self.scene.metal)

    @property
    def inputs(self) -> dict[str, Volume]:
        """As the node would give them, signal in thousands."""
        tags: Mapping[str, TagValue] = {
            "PixelBandwidth": self.bandwidth,
            "InPlanePhaseEncodingDirection": "COL",
            "ImageType": ("ORIGINAL", "PRIMARY", "M"),
        }
        both = {"plus": self.acquired.plus, "minus": self.acquired.minus}
        return {role: volume(UNIT * images.numpy(), tags) for role, images in both.items()}


def volume(pixels: np.ndarray, tags: Mapping[str, TagValue]) -> Volume:
    """Bins (b, z, y, x) on an axial grid."""
    _, depth, rows, columns = pixels.shape
    origins = tuple((-40.0, -30.0, VOXEL_MM[0] * z) for z in range(depth))
    grid = Geometry((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), VOXEL_MM[1:], origins, rows, columns, VOXEL_MM[0])
    return Volume(np.ascontiguousarray(pixels, np.float32), Units.MR_SIGNAL, grid, axes="bzyx", tags=tags)


def tagged(given: Volume, **tags: TagValue | None) -> Volume:
    """With other tags; None takes one away."""
    merged = {**given.tags, **tags}
    return replace(given, tags={name: value for name, value in merged.items() if value is not None})


def both(inputs: Mapping[str, Volume], **tags: TagValue | None) -> dict[str, Volume]:
    """Both roles with other tags."""
    return {role: tagged(given, **tags) for role, given in inputs.items()}


def nrmse(image: Tensor, truth: Tensor, where: Tensor) -> float:
    return float((image - truth)[where].norm() / truth[where].norm())


def corrector(method: str, weights: Path | None = None, **parameters: ParameterValue) -> Corrector:
    defaults = {name: one.default for name, one in SPEC.parameters.items()}
    return build(method=method, weights=weights, device="cpu", parameters={**defaults, **parameters})


def package(folder: Path, network: nn.Module, arguments: Mapping[str, Any], inputs: Mapping[str, Any]) -> Path:
    """A weights package as far as the corrector reads it."""
    folder.mkdir()
    save_file(network.state_dict(), folder / "model.safetensors")
    architecture = {"name": type(network).__name__, "arguments": dict(arguments)}
    (folder / "model.yaml").write_text(yaml.safe_dump({"architecture": architecture, "inputs": dict(inputs)}))
    return folder


@cache
def _scene(ppm: float, slices: int, side: int) -> MavricScene:
    z, y, x = np.meshgrid(
        (np.arange(17) - 8) * VOXEL_MM[0], *((np.arange(side) - (side - 1) / 2) * s for s in VOXEL_MM[1:]),
        indexing="ij",
    )  # fmt: skip
    ball = (z**2 + y**2 + x**2 < 9.0**2).astype(np.float32) * (ppm > 0)
    field = off_resonance_hz(torch.from_numpy(ball * np.float32(1e-6 * ppm)), VOXEL_MM, 1.5).numpy()
    grain = ndimage.gaussian_filter(np.random.default_rng(5).standard_normal(ball.shape), (0, 3, 3))
    body = np.hypot(y, x) < 0.45 * side * VOXEL_MM[2]
    signal = (body * (0.6 + 0.15 * grain / grain.std()).clip(0.1, 1.0)).astype(np.float32)
    here = slice(8 - slices // 2, 8 - slices // 2 + slices)
    return make_scene(signal[here], ball[here], field[here])


@cache
def _acquired(case: Case) -> Acquired:
    how = MavricAcquisition(case.bandwidth, case.bins, case.noise)
    generator = torch.Generator().manual_seed(2)
    made = acquire(case.scene.signal, case.scene.off_resonance_hz, how, generator, splat=Splat.SINC)
    return Acquired(made.plus, made.minus, case.bandwidth, case.bins)
