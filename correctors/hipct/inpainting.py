"""Method `paper`: a network inpaints the filled metal trace of the sinogram (near-hip paper, section II-A)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from correctors.common.weights import load_network
from correctors.hipct.brightness import SHARES, brightness_factor, brightness_of
from correctors.hipct.network import SinogramCnn
from correctors.hipct.scene import Scene
from correctors.hipct.working_grid import WorkingGrid, wrap_angles
from dicom_node.contracts import Volume
from dicom_node.errors import WeightsError
from simulation.crude_metal import fill_trace

NETWORKS: Mapping[str, type[nn.Module]] = {"SinogramCnn": SinogramCnn}
BESIDE_TRACE = 2
"""Re-projected artefacts ring beside the steep edges of the trace: so many detectors more are inpainted."""
_UNLIKELY = -1e30


@dataclass(frozen=True)
class Conventions:
    """What the network's sinograms are, kept in its weights package.

    Attributes:
        grid: sampling of the sinograms.
        scale: differences of line integrals from the filled value are divided by this before they go in.
        standard: brightness that every patient is brought to; see `brightness_of`.
        replaced: `all` takes every ray from the network, as the paper; `trace` only those through metal.
    """

    grid: WorkingGrid
    scale: float
    standard: tuple[float, ...]
    replaced: Literal["all", "trace"]

    def as_mapping(self) -> dict[str, Any]:
        """As kept in `model.yaml` under `inputs`."""
        return {
            "detector_mm": self.grid.detector_mm,
            "n_angles": self.grid.n_angles,
            "scale": self.scale,
            "standard_brightness": [round(q, 2) for q in self.standard],
            "replaced": self.replaced,
        }

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Conventions:
        """Back from `model.yaml`.

        Raises:
            WeightsError: something is missing or has no meaning.
        """
        try:
            grid = WorkingGrid(float(values["detector_mm"]), int(values["n_angles"]))
            standard = tuple(float(q) for q in values["standard_brightness"])
            replaced = values["replaced"]
            scale = float(values["scale"])
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"the weights package does not say what its sinograms are: {error}") from error
        sizes = (grid.detector_mm, scale)
        known = replaced in ("all", "trace") and len(standard) in (0, len(SHARES))
        if not known or grid.n_angles < 2 or not all(0 < size < math.inf for size in sizes):
            raise WeightsError("the weights package describes sinograms that have no meaning")
        return cls(grid, scale, standard, replaced)


def largest_undisturbed(sinograms: Tensor, trace: Tensor) -> Tensor:
    """Largest value of each sinogram outside its trace, (batch, 1, 1); what the trace is filled with."""
    return torch.where(trace, _UNLIKELY, sinograms).amax(dim=(-2, -1), keepdim=True)


def widened(trace: Tensor, detectors: int) -> Tensor:
    """A trace, bool (batch, angle, detector), grown by some detectors to each side."""
    grown: Tensor = functional.max_pool2d(trace.float(), (1, 2 * detectors + 1), 1, (0, detectors)) > 0
    return grown


def inpaint(network: nn.Module, filled: Tensor, level: Tensor, conventions: Conventions, reach: int) -> Tensor:
    """Run the network on whole sinograms, with angles that go on beyond 0 and 180 degrees.

    Values go in and out as differences from the level, so that the trace is 0, as the zeros along the margins are.

    Args:
        network: maps (batch, 1, angle, detector) to the same shape.
        filled: (batch, angle, detector) on the conventions' grid, trace filled.
        level: what the trace is filled with (batch, 1, 1).
        conventions: scale.
        reach: angles that an output sample sees to each side.

    Returns:
        (batch, angle, detector).
    """
    reach = min(reach, filled.shape[1])
    wide = (wrap_angles(filled, reach) - level)[:, None] / conventions.scale
    out: Tensor = network(wide.contiguous(memory_format=torch.channels_last))
    return out[:, 0, reach : reach + filled.shape[1]].float() * conventions.scale + level


class Inpainting:
    """The network with its conventions on one device.

    Attributes:
        network: maps (batch, 1, angle, detector) to the same shape.
        conventions: what its sinograms are.
        factor: brightness of the series at hand.
    """

    def __init__(self, network: nn.Module, conventions: Conventions, reach: int) -> None:
        self.network = network
        self.conventions = conventions
        self.factor = 1.0
        self._reach = reach

    @classmethod
    def load(cls, package: Path, device: str) -> Inpainting:
        """Load a weights package.

        Raises:
            WeightsError: it is of another architecture.
        """
        loaded = load_network(package, NETWORKS, device)
        assert isinstance(loaded.network, SinogramCnn)
        return cls(loaded.network, Conventions.from_mapping(loaded.inputs), loaded.network.reach[0])

    def begin_series(self, volume: Volume) -> None:
        """Take the brightness of a series; one factor holds for all its slices."""
        self.factor = brightness_factor(brightness_of(volume.pixels), self.conventions.standard)

    def with_network(self, network: nn.Module) -> Inpainting:
        """The same, for the same series, with another network of the same reach."""
        other = Inpainting(network, self.conventions, self._reach)
        other.factor = self.factor
        return other

    def inpainted(self, network: nn.Module, filled: Tensor, level: Tensor) -> Tensor:
        """`inpaint` by a network that may be another one."""
        return inpaint(network, filled, level, self.conventions, self._reach)

    def __call__(self, scene: Scene) -> Tensor:
        """Correct.

        Args:
            scene: slices with metal.

        Returns:
            (batch, y, x) [HU], metal not put back.
        """
        grid, pixel_mm = self.conventions.grid, scene.pixel_mm
        wide = widened(scene.trace, BESIDE_TRACE)
        measured, trace = grid.sample_measured(scene.sinogram * self.factor, wide, pixel_mm)
        level = largest_undisturbed(measured, trace)
        filled = fill_trace(measured, trace, level)
        inpainted = self.inpainted(self.network, filled, level)
        shape = scene.sinogram.shape[1:]
        if self.conventions.replaced == "trace":
            rest = scene.sinogram
        else:
            change = torch.where(trace, 0.0, inpainted - measured) / self.factor
            rest = scene.sinogram + grid.restore(change, pixel_mm, *shape)
        fine = grid.restore(torch.where(trace, inpainted, measured), pixel_mm, *shape) / self.factor
        return scene.correct(torch.where(wide, fine, rest))
