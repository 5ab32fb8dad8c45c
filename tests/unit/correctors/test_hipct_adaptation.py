"""Adaptation to a patient: which slices, when weights are kept, and that the same series gives the same weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import pytest
import torch
from hip_scenes import ANGLES, PIXEL_MM, SIDE, disc, pelvis, simulated, volume
from hip_weights import SHIPPED, spoilt
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from correctors.common.fitting import FittingPlan
from correctors.hipct import adaptation, best_adaptation, paper_adaptation
from correctors.hipct.adaptation import MOST_SLICES, PatientSlices, adapt, digest, nearest_clean
from correctors.hipct.artefact_network import ArtefactUnet
from correctors.hipct.best import Best
from correctors.hipct.best_adaptation import BestAdaptation
from correctors.hipct.evidence import CHANNELS
from correctors.hipct.infer import HipCt, build
from correctors.hipct.inpainting import Conventions, Inpainting
from correctors.hipct.network import SinogramCnn
from correctors.hipct.paper_adaptation import PaperAdaptation
from correctors.hipct.plugin import SPEC
from correctors.hipct.working_grid import WorkingGrid
from dicom_node.errors import RequestError
from simulation.projector import ParallelGeometry, ParallelProjector

PACKAGE = "5eed" * 16
PROJECTOR = ParallelProjector(ParallelGeometry(SIDE, PIXEL_MM, ANGLES))


def patient(count: int = 6) -> PatientSlices:
    rng = np.random.default_rng(5)
    clean = np.stack([pelvis() + rng.normal(0, 5, (SIDE, SIDE)) for _ in range(count)]).astype(np.float32)
    return PatientSlices(clean, disc((10, -75), 14.0)[None] > 0.5, PROJECTOR)


def image_network() -> ArtefactUnet:
    torch.manual_seed(0)
    return ArtefactUnet(CHANNELS, 2, (8, 12, 16)).eval()


def sinogram_method() -> Inpainting:
    torch.manual_seed(0)
    network = SinogramCnn(width=4, layers=3, kernel=(5, 5)).eval()
    standard = tuple(float(q) for q in np.linspace(900, 1080, 19))
    return Inpainting(network, Conventions(WorkingGrid(8.0, 40), 4.0, standard, "trace"), network.reach[0])


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BestAdaptation, "plan", FittingPlan(steps=8, learning_rate=1e-3, ema=0.5))
    monkeypatch.setattr(PaperAdaptation, "plan", FittingPlan(steps=30, learning_rate=1e-2, ema=0.5))
    for module in (best_adaptation, paper_adaptation):
        monkeypatch.setattr(module, "EXAMPLES", 6)
        monkeypatch.setattr(module, "JUDGED", 2)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
@settings(max_examples=200)
def test_slices_are_the_nearest_usable_ones_without_metal(series: list[tuple[bool, bool]]) -> None:
    metal, usable = [m for m, _ in series], [u for _, u in series]
    asked: list[int] = []
    chosen = nearest_clean(metal, lambda z: asked.append(z) or usable[z])  # type: ignore[func-returns-value]
    assert list(chosen) == sorted(set(chosen))
    assert all(usable[z] and not metal[z] for z in chosen)
    good = [z for z in range(len(series)) if usable[z] and not metal[z]]
    for z in range(len(series)):
        if metal[z]:
            above, below = [k for k in good if k > z], [k for k in good if k < z][::-1]
            # Counted from the end of the stretch that z is in, which is at least as near.
            assert {*above[:MOST_SLICES], *below[:MOST_SLICES]} <= set(chosen)
    stretches = sum(m and not before for m, before in zip(metal, [False, *metal], strict=False))
    assert len(chosen) <= 2 * MOST_SLICES * stretches
    assert not any(metal[z] for z in asked)
    if not any(metal):
        assert chosen == ()
        assert asked == []  # to look at a slice takes time


def test_a_network_that_knows_nothing_learns_from_the_patient(short: None) -> None:
    method = PaperAdaptation(sinogram_method(), "cpu")
    before = digest(method.network)
    first, second = adapt(method, patient(), PACKAGE), adapt(method, patient(), PACKAGE)
    assert first.metrics["held_out_error_after_hu"] < first.metrics["held_out_error_before_hu"]
    assert first.metrics["adapted_slices"] == 4
    assert digest(first.method.network) != before == digest(method.network)
    assert digest(first.method.network) == digest(second.method.network)
    assert first.weights_sha256 == digest(first.method.network)
    assert first.weights_sha256 in first.sentences[0]
    assert f"adapted to this patient from the package {PACKAGE[:12]}" in first.sentences[0]


def test_the_image_network_is_fitted_on_in_the_same_way_each_time(short: None) -> None:
    method = BestAdaptation(Best(image_network()), "cpu")
    first, second = adapt(method, patient(), PACKAGE), adapt(method, patient(), PACKAGE)
    assert first.metrics == second.metrics
    assert first.sentences == second.sentences
    assert first.metrics["held_out_error_after_hu"] != first.metrics["held_out_error_before_hu"]
    used = first.metrics["held_out_error_after_hu"] < first.metrics["held_out_error_before_hu"]
    assert (first.method is method) == (not used)


def test_other_images_give_other_weights(short: None) -> None:
    method = PaperAdaptation(sinogram_method(), "cpu")
    one, other = patient(), patient(7)
    assert adapt(method, one, PACKAGE).weights_sha256 != adapt(method, other, PACKAGE).weights_sha256


def test_the_number_of_threads_changes_nothing_and_is_given_back(short: None) -> None:
    method = PaperAdaptation(sinogram_method(), "cpu")
    before = torch.get_num_threads()
    try:
        found = []
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(adapt(method, patient(), PACKAGE).weights_sha256)
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1] != ""


class Worsening:
    """Has a network that fitting only makes worse."""

    plan = FittingPlan(steps=3, learning_rate=0.1)

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def with_network(self, network: nn.Module) -> Self:
        return type(self)(network)

    def examples(self, patient: PatientSlices, *, held_out: bool) -> Sequence[int]:
        return [1]

    def batch(self, examples: Sequence[int], rng: np.random.Generator) -> Tensor:
        return torch.ones(1, 1)

    def loss(self, network: nn.Module, batch: Tensor) -> Tensor:
        return (network(batch) - 100).square().mean()

    def error(self, network: nn.Module, examples: Sequence[int]) -> float:
        return float(network(torch.ones(1, 1)).detach().abs())


def test_weights_that_came_out_worse_are_not_used() -> None:
    torch.manual_seed(0)
    method = Worsening(nn.Linear(1, 1))
    kept = copy.deepcopy(method.network.state_dict())
    adapted = adapt(method, patient(), PACKAGE)
    assert adapted.method is method
    assert adapted.weights_sha256 == ""
    assert "no better" in adapted.sentences[0]
    assert f"weights of the package {PACKAGE[:12]} used, not adapted" in adapted.sentences[0]
    assert all(torch.equal(kept[name], tensor) for name, tensor in method.network.state_dict().items())


def test_too_few_slices_are_told() -> None:
    adapted = adapt(PaperAdaptation(sinogram_method(), "cpu"), patient(adaptation.FEWEST_SLICES - 1), PACKAGE)
    assert "too few" in adapted.sentences[0]
    assert (adapted.weights_sha256, adapted.metrics) == ("", {"adapted_slices": 0.0})


def test_slices_end_where_the_scan_ends() -> None:
    metal = [20 <= z < 24 for z in range(27)]
    assert nearest_clean(metal, lambda _: True) == (*range(9, 20), 24, 25, 26)
    # What cannot serve is passed over, and two implants share what lies between them.
    assert nearest_clean(metal, lambda z: z not in (19, 25)) == (*range(8, 19), 24, 26)
    assert nearest_clean([z in (0, 3) for z in range(5)], lambda _: True) == (1, 2, 4)


def test_metal_too_small_to_be_moved_is_told(short: None) -> None:
    whole = patient()
    nothing = PatientSlices(whole.clean, np.zeros_like(whole.implants), whole.projector)
    method = PaperAdaptation(sinogram_method(), "cpu")
    adapted = adapt(method, nothing, PACKAGE)
    assert adapted.method is method
    assert "too small" in adapted.sentences[0]


class Exploding(Worsening):
    """Has a loss that is no number."""

    def loss(self, network: nn.Module, batch: Tensor) -> Tensor:
        return super().loss(network, batch) * math.inf


def test_a_fit_that_fails_leaves_the_weights(short: None) -> None:
    method = Exploding(nn.Linear(1, 1))
    before = torch.get_num_threads()
    adapted = adapt(method, patient(), PACKAGE)
    assert adapted.method is method
    assert "did not converge" in adapted.sentences[0]
    assert torch.get_num_threads() == before


def corrector(method: Inpainting | Best) -> HipCt:
    return HipCt(
        method=method,
        device="cpu",
        segmentation="threshold",
        metal_threshold_hu=2500.0,
        smallest_implant_mm2=20.0,
        n_angles=ANGLES,
        adapt_from=PACKAGE,
    )


def test_a_series_is_corrected_with_its_own_weights_and_says_so(
    short: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(PaperAdaptation, "plan", FittingPlan(steps=30, learning_rate=1e-3, warmup_steps=3, ema=0.5))
    rng = np.random.default_rng(1)
    clean = [pelvis() + rng.normal(0, 5, (SIDE, SIDE)).astype(np.float32) for _ in range(8)]
    metal = simulated("cobalt", 14.0).artefact[0].numpy()
    given_series = {"ct": volume([*clean[:5], metal, *clean[5:]])}
    package = spoilt(tmp_path / "package")
    made, again = (corrector(Inpainting.load(package, "cpu")).correct(given_series) for _ in range(2))
    assert made.changed, made.reason
    assert made.metrics["adapted_slices"] == 6
    assert made.metrics["held_out_error_after_hu"] < made.metrics["held_out_error_before_hu"]
    assert any(f"SHA-256 of the adapted weights {made.adapted_weights_sha256}" in warning for warning in made.warnings)
    assert made.warnings == again.warnings
    assert made.adapted_weights_sha256 == again.adapted_weights_sha256 != ""
    assert np.array_equal(made.volumes["ct"].pixels, again.volumes["ct"].pixels)
    assert np.array_equal(made.volumes["ct"].pixels[0], given_series["ct"].pixels[0])


def test_a_series_without_clean_slices_is_corrected_with_the_package_s_weights() -> None:
    metal = simulated("cobalt", 14.0).artefact[0].numpy()
    made = corrector(Inpainting.load(SHIPPED, "cpu")).correct({"ct": volume([metal, pelvis(), metal])})
    assert made.changed, made.reason
    assert made.adapted_weights_sha256 == ""
    assert made.metrics["adapted_slices"] == 0
    assert any("not adapted to this patient: 1 slice(s)" in warning for warning in made.warnings)


def test_a_method_without_weights_cannot_be_adapted() -> None:
    parameters = {name: p.default for name, p in SPEC.parameters.items()} | {"adapt": "patient"}
    with pytest.raises(RequestError, match="no weights that could be adapted"):
        build(method="classical", weights=None, device="cpu", parameters=parameters)
