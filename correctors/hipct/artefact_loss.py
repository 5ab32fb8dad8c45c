"""The loss of method `best`, shared by training and by adaptation to a patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from correctors.hipct.best import predicted
from correctors.hipct.evidence import SCALE_HU, Evidence, look_again
from correctors.hipct.examples import METAL_SHARE, Example
from correctors.hipct.scene import Scene
from simulation.projector import ParallelProjector

FAR_HU, RIM_HU, NEAR_HU = 25.0, 1500.0, 350.0
"""Typical errors of normalised interpolation far from metal, in its rim and near it [HU]."""
RIM_PIXELS, NEAR_PIXELS = 1.5, 6.0
"""How fast they fall with the distance from metal [pixels]."""
AIR_WEIGHT = 0.3
"""Of voxels outside the patient: nobody looks there, but the errors count in figures."""
AIR_HU = -700.0
ROBUST = 3.0
"""Errors beyond so many typical ones count linearly: a few starved slices must not rule the rest."""
SHARE_WEIGHT = 0.1
LOST_TWICE = 4.0
"""A response of lesions that is wrong by so many times their own energy counts half: it is an unstable streak."""
BALANCED = 0.05
"""`_errors` of a slice with a middling artefact."""
LEAST_LESION_HU2 = 1e4
"""Energy of a lesion of 20 HU and 5 pixels; less is a part of one at the edge of a crop."""
_SPREAD = 0.15


@dataclass(frozen=True)
class Crop:
    """Which part of a slice is learnt from, and how it lies.

    Attributes:
        top, left: first row and column; even, as the network works on pairs of pixels.
        side: rows and columns.
        turns: quarter turns.
        mirrored: whether it is mirrored before.
        again: whether it is learnt from in the second pass, with the network's own first result.
    """

    top: int
    left: int
    side: int
    turns: int
    mirrored: bool
    again: bool

    @classmethod
    def about(
        cls, middle: NDArray[np.float64], side: int, whole: int, *, turns: int, mirrored: bool, again: bool
    ) -> Crop:
        """As near to a place (y, x) as a slice of `whole` pixels a side allows."""
        top, left = (int(np.clip(m - side / 2, 0, whole - side)) // 2 * 2 for m in middle)
        return cls(top, left, side, turns, mirrored, again)

    def of(self, values: Tensor) -> Tensor:
        """The part of (y, x)."""
        part = values[self.top : self.top + self.side, self.left : self.left + self.side]
        return torch.rot90(part.flip(-1) if self.mirrored else part, self.turns, (-2, -1))


@dataclass(frozen=True, eq=False)
class ArtefactBatch:
    """Whole slices on a device, and the crops of them that are learnt from.

    Attributes:
        evidence: what the network is shown in its first pass.
        wanted: (batch, y, x) [HU].
        share: (batch, y, x), share of metal.
        typical: (batch, y, x), typical error there [HU].
        crops: one for each slice, of one size.
        twins: whether the second half are the scans of the first half without their lesions, cropped alike.
    """

    evidence: Evidence
    wanted: Tensor
    share: Tensor
    typical: Tensor
    crops: tuple[Crop, ...]
    twins: bool = False


def near_metal(example: Example, side: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A place (y, x) about the metal of an example, for a crop of `side` pixels."""
    rows, columns = np.nonzero(example.metal)
    pick = int(rng.integers(len(rows)))
    place: NDArray[np.float64] = np.array([rows[pick], columns[pick]]) + rng.normal(0, _SPREAD * side, 2)
    return place


def stacked(
    examples: Sequence[Example], crops: Sequence[Crop], device: torch.device, *, twins: bool = False
) -> ArtefactBatch:
    """Put examples of equal size on a device."""
    away = _tensor([e.away for e in examples], device).float() / 4
    return ArtefactBatch(
        evidence_of(examples, device),
        wanted=_tensor([e.wanted for e in examples], device).float(),
        share=_tensor([e.share for e in examples], device).float() / 255,
        typical=FAR_HU + RIM_HU * torch.exp(-away / RIM_PIXELS) + NEAR_HU * torch.exp(-away / NEAR_PIXELS),
        crops=tuple(crops),
        twins=twins,
    )


def evidence_of(examples: Sequence[Example], device: torch.device) -> Evidence:
    """What the network is shown of examples in its first pass."""
    estimate = _tensor([e.estimate for e in examples], device).float()
    return Evidence(
        slices=_tensor([e.slices for e in examples], device).float(),
        estimate=estimate,
        previous=estimate,
        likely=_tensor([e.metal for e in examples], device).float(),
        shadow=_tensor([e.shadow for e in examples], device),
        streaks=_tensor([e.streaks for e in examples], device).float(),
    )


def scene_of(evidence: Evidence, projector: ParallelProjector) -> Scene:
    """The scene that evidence was gathered from."""
    return Scene(projector, evidence.slices, evidence.metal, evidence.shadow)


@dataclass(frozen=True)
class Weighting:
    """What else than the error counts.

    Attributes:
        lesions: weight of what becomes of lesions; needs twins.
        balance: 0 weighs all examples alike; 1 would weigh each by how little artefact there is to remove.
    """

    lesions: float = 0.0
    balance: float = 0.0


PLAIN = Weighting()


def artefact_loss(
    network: nn.Module, batch: ArtefactBatch, projector: ParallelProjector, weighting: Weighting = PLAIN
) -> Tensor:
    """Error and metal outline, mean over the examples; for those of the second pass the first runs without gradient.

    Args:
        network: maps (batch, channel, y, x) to (batch, 2, y, x): change [kHU] and the metal's logit.
        batch: examples.
        projector: of the slices' grid.
        weighting: what else counts.
    """
    seen = _seen(getattr(network, "module", network), batch, projector)
    evidence = Evidence(*(_cropped(getattr(seen, field.name), batch.crops) for field in fields(Evidence)))
    wanted, share, typical = (_cropped(values, batch.crops) for values in (batch.wanted, batch.share, batch.typical))
    out = network(evidence.channels().contiguous(memory_format=torch.channels_last)).float()
    image = evidence.base + SCALE_HU * out[:, 0]
    judged = (share < METAL_SHARE).float()
    errors = _errors(image, wanted, judged, typical)
    if weighting.balance:
        untouched = _errors(torch.where(evidence.metal, wanted, evidence.slices), wanted, judged, typical)
        errors = errors * (BALANCED / untouched.clamp(min=BALANCED / 100)) ** weighting.balance
    loss = (errors + SHARE_WEIGHT * _outlines(evidence, out[:, 1], share)).mean()
    if weighting.lesions and batch.twins:
        with_lesions, without = image.chunk(2)
        loss = loss + weighting.lesions * lost_share(
            with_lesions - without, torch.sub(*wanted.chunk(2)), torch.mul(*judged.chunk(2))
        )
    return loss


def _seen(network: nn.Module, batch: ArtefactBatch, projector: ParallelProjector) -> Evidence:
    """What the network is shown of each slice, in the pass that it is learnt from in."""
    again = torch.tensor([crop.again for crop in batch.crops], device=batch.wanted.device)
    if not bool(again.any()):
        return batch.evidence
    first = Evidence(*(getattr(batch.evidence, field.name)[again] for field in fields(Evidence)))
    with torch.no_grad():
        result, likely = predicted(network, first)
        with torch.autocast(result.device.type, enabled=False):
            second = look_again(scene_of(first, projector), first, result, likely)
    merged = {}
    for field in fields(Evidence):
        values = getattr(batch.evidence, field.name).clone()
        values[again] = getattr(second, field.name)
        merged[field.name] = values
    return replace(batch.evidence, **merged)


def _errors(image: Tensor, wanted: Tensor, judged: Tensor, typical: Tensor) -> Tensor:
    """Squared error outside metal over its typical size, linear for large ones.

    Divided once by the typical error, not squared: voxels near metal are few, and must count for more than their
    number.

    Returns:
        (batch,).
    """
    relative = ((image - wanted) / typical).abs()
    size = torch.where(relative < ROBUST, relative.square(), 2 * ROBUST * relative - ROBUST**2)
    weight = torch.where(wanted < AIR_HU, AIR_WEIGHT, 1.0) * judged
    return (size * typical * weight).mean(dim=(1, 2)) / SCALE_HU


def _outlines(evidence: Evidence, logit: Tensor, share: Tensor) -> Tensor:
    """How wrong the metal's outline is, (batch,)."""
    near = functional.max_pool2d(((evidence.likely > 0) | (share > 0))[:, None].float(), 7, 1, 3)[:, 0]
    metal = (share >= METAL_SHARE).float()
    outline = functional.binary_cross_entropy_with_logits(logit, metal, reduction="none")
    return (outline * near).sum(dim=(1, 2)) / near.sum(dim=(1, 2)).clamp(min=1)


def lost_share(response: Tensor, lesions: Tensor, judged: Tensor) -> Tensor:
    """How much of lesions is lost: energy of what their response lacks over their own, mean over the pairs.

    The response is what lesions change in the result, all else being equal. An error alone would teach to leave them
    out wherever they might as well be streaks.

    Args:
        response: result with lesions minus that without, (pair, y, x) [HU].
        lesions: the same of what is wanted [HU].
        judged: 1 outside metal.
    """
    wrong = ((response - lesions).square() * judged).sum(dim=(1, 2))
    own = (lesions.square() * judged).sum(dim=(1, 2))
    there = own > LEAST_LESION_HU2
    share = wrong / own.clamp(min=LEAST_LESION_HU2)
    return (there * share / (1 + share / LOST_TWICE)).sum() / there.sum().clamp(min=1)


def _cropped(values: Tensor, crops: Sequence[Crop]) -> Tensor:
    return torch.stack([crop.of(one) for one, crop in zip(values, crops, strict=True)])


def _tensor(arrays: Sequence[NDArray[np.generic]], device: torch.device) -> Tensor:
    return torch.from_numpy(np.stack(arrays)).to(device)
