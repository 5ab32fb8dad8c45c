"""Adaptation to one patient: a method's network is fitted on to slices of the same scan that hold no metal.

The near-hip paper's first scenario (section II-C): the slices next above and below the metal show nearly the same
anatomy, and what the scanner and the patient do to them. Here it starts from weights that other patients gave.
Everything is drawn from the images themselves, so that the same series gives the same weights.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from correctors.common.fitting import Fitter, FittingPlan, NotFinite
from correctors.common.repeatable import repeatable_kernels
from correctors.hipct.moved_masks import moved
from dicom_node.contracts import BoolArray, FloatArray
from simulation.projector import ParallelProjector

MOST_SLICES = 11
"""Slices taken above, and as many below, each stretch of slices with metal (paper: eleven)."""
FEWEST_SLICES = 4
"""With fewer there is nothing to hold out: the weights stay as they are."""
HELD_OUT_EVERY = 4
THREADS = 1
"""Sums depend on the number of threads: with a fixed one, machines of a kind get the same weights. More than one would
gain little on such small batches, and lose much where the cores are busy."""
_SCALE_SPREAD, _SHIFT_MM, _EDGE_PIXELS = 0.2, 8.0, 0.5


@dataclass(frozen=True, eq=False)
class PatientSlices:
    """What a patient's own scan offers, on the square grid of the projector.

    Attributes:
        clean: float32 (slice, y, x) without metal, unmeasured voxels air [HU].
        implants: bool (slice, y, x), metal as it was found in the other slices.
        projector: of the grid.
    """

    clean: FloatArray
    implants: BoolArray
    projector: ParallelProjector

    def part(self, chosen: Sequence[int]) -> PatientSlices:
        """The same with some of the clean slices."""
        return PatientSlices(self.clean[list(chosen)], self.implants, self.projector)

    @cached_property
    def seed(self) -> int:
        """Drawn from the images."""
        found = hashlib.sha256(np.ascontiguousarray(self.clean).tobytes())
        found.update(np.packbits(self.implants).tobytes())
        return int.from_bytes(found.digest()[:4])

    def draw(self, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """A clean slice (y, x) [HU], and the share of each voxel that an implant of the patient fills there.

        Each piece of the implant gets another size and place (paper, section II-A).
        """
        hu: FloatArray = self.clean[int(rng.integers(len(self.clean)))]
        implant = self.implants[int(rng.integers(len(self.implants)))]
        share = _perturbed(implant, rng, self.projector.geometry.pixel_mm)
        return hu, share


class Adaptable(Protocol):
    """A method whose network can be fitted on."""

    @property
    def network(self) -> nn.Module:
        """Its network."""
        ...

    @property
    def plan(self) -> FittingPlan:
        """How it is fitted on."""
        ...

    def with_network(self, network: nn.Module) -> Self:
        """The same method with another network of the same kind."""
        ...

    def examples(self, patient: PatientSlices, *, held_out: bool) -> Sequence[Any]:
        """Examples made of clean slices: for fitting, or the same each time to judge by; empty where none came out."""
        ...

    def batch(self, examples: Sequence[Any], rng: np.random.Generator) -> Any:
        """A random batch of them."""
        ...

    def loss(self, network: nn.Module, batch: Any) -> Tensor:
        """Mean loss."""
        ...

    def error(self, network: nn.Module, examples: Sequence[Any]) -> float:
        """Root mean square error of corrected images over held-out examples [HU]."""
        ...


AnyAdaptable = TypeVar("AnyAdaptable", bound=Adaptable)


@dataclass(frozen=True, eq=False)
class Adapted(Generic[AnyAdaptable]):
    """A method as it is to be used for a patient.

    Attributes:
        method: adapted, or as it was.
        sentences: for the report: which weights are used, and why.
        metrics: figures for the report.
        weights_sha256: `digest` of the adapted weights; empty where the method is as it was.
    """

    method: AnyAdaptable
    sentences: tuple[str, ...]
    metrics: dict[str, float]
    weights_sha256: str = ""


def nearest_clean(metal: Sequence[bool], usable: Callable[[int], bool]) -> tuple[int, ...]:
    """Indices of the slices to learn from.

    Args:
        metal: for each slice, whether it holds metal.
        usable: whether a slice can serve; asked from near to far, until there are enough.

    Returns:
        In order: at most `MOST_SLICES` usable slices next above and next below each stretch of slices with metal.
    """
    chosen: set[int] = set()
    count = len(metal)
    for z in range(count):
        if not metal[z]:
            continue
        if z + 1 == count or not metal[z + 1]:
            chosen.update(_first_usable(range(z + 1, count), metal, usable))
        if z == 0 or not metal[z - 1]:
            chosen.update(_first_usable(range(z - 1, -1, -1), metal, usable))
    return tuple(sorted(chosen))


def adapt(method: AnyAdaptable, patient: PatientSlices, package_sha256: str) -> Adapted[AnyAdaptable]:
    """Fit a method on to a patient, unless held-out slices say that it was better before.

    Args:
        method: with the weights to start from; it is not changed.
        patient: clean slices and implants of the series.
        package_sha256: digest of the package of these weights, for the report.
    """
    count = len(patient.clean)
    if count < FEWEST_SLICES:
        why = f"{count} slice(s) without metal that show the whole patient are too few to learn from"
        return _as_it_was(method, package_sha256, why, {})
    with _repeatable(next(method.network.parameters()).device):
        return _adapt(method, patient, package_sha256)


def _adapt(method: AnyAdaptable, patient: PatientSlices, package_sha256: str) -> Adapted[AnyAdaptable]:
    count = len(patient.clean)
    held = range(1, count, HELD_OUT_EVERY)
    learnt = [k for k in range(count) if k not in held]
    examples = method.examples(patient.part(learnt), held_out=False)
    judged = method.examples(patient.part(held), held_out=True)
    if not examples or not judged:
        return _as_it_was(method, package_sha256, "its metal is too small to be put into other slices", {})
    before = method.error(method.network, judged)
    fitter = Fitter(copy.deepcopy(method.network), method.plan, method.loss)
    try:
        for step in range(method.plan.steps):
            fitter.step([method.batch(examples, np.random.default_rng([patient.seed, step]))])
    except NotFinite:
        return _as_it_was(method, package_sha256, "fitting did not converge", {})
    with fitter.averaged() as network:
        fitted = copy.deepcopy(network)
    fitted.eval()
    after = method.error(fitted, judged)
    metrics = {
        "adaptation_steps": float(method.plan.steps),
        "held_out_error_before_hu": before,
        "held_out_error_after_hu": after,
    }
    if not after < before:
        why = f"simulated metal in {len(held)} held-out slices came out no better"
        return _as_it_was(method, package_sha256, why, metrics)
    found = digest(fitted)
    sentence = (
        f"weights adapted to this patient from the package {_short(package_sha256)}, in {method.plan.steps} steps on "
        f"{len(learnt)} slices without metal; SHA-256 of the adapted weights {found}"
    )
    return Adapted(
        method.with_network(fitted),
        (sentence,),
        {"adapted_slices": float(len(learnt)), **metrics},
        weights_sha256=found,
    )


def _as_it_was(method: AnyAdaptable, package_sha256: str, why: str, metrics: dict[str, float]) -> Adapted[AnyAdaptable]:
    sentence = f"weights of the package {_short(package_sha256)} used, not adapted to this patient: {why}"
    return Adapted(method, (sentence,), {"adapted_slices": 0.0, **metrics})


def digest(network: nn.Module) -> str:
    """SHA-256 over the tensors of a network, by name."""
    found = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _perturbed(implant: BoolArray, rng: np.random.Generator, pixel_mm: float) -> FloatArray:
    """Share of metal in each voxel after each piece was scaled and moved, float32 (y, x)."""
    labels, count = ndimage.label(implant)
    share = np.zeros(implant.shape, np.float32)
    for number in range(1, count + 1):
        factor = float(np.exp(rng.normal(0, _SCALE_SPREAD)))
        shift = rng.normal(0, _SHIFT_MM / pixel_mm, 2)
        share = np.maximum(share, moved(labels == number, factor, shift))
    soft: FloatArray = np.clip(ndimage.gaussian_filter(share, _EDGE_PIXELS), 0.0, 1.0)
    return soft


def _first_usable(nearest: Iterable[int], metal: Sequence[bool], usable: Callable[[int], bool]) -> list[int]:
    return list(islice((z for z in nearest if not metal[z] and usable(z)), MOST_SLICES))


def _short(sha256: str) -> str:
    return sha256[:12]


@contextmanager
def _repeatable(device: torch.device) -> Iterator[None]:
    """One thread, and kernels that repeat; whatever was set before comes back afterwards."""
    threads = torch.get_num_threads()
    strict, warn = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.set_num_threads(THREADS)
    if device.type == "cuda":
        # Gradients of bilinear interpolation are summed in no fixed order otherwise.
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with repeatable_kernels():
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict, warn_only=warn)
