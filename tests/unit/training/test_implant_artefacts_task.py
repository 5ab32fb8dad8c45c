"""The task behind method `best`: scenes are the same whoever makes them, and the score says what it should."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from correctors.hipct.artefact_loss import LOST_TWICE, Weighting, artefact_loss, lost_share
from correctors.hipct.artefact_network import ArtefactUnet
from correctors.hipct.evidence import CHANNELS
from correctors.hipct.examples import Example
from dicom_node.errors import InputError
from training.anatomy import Anatomy
from training.task import Draw
from training.tasks.implant_artefacts import ImplantArtefacts

SIDE, PIXEL_MM, CROP = 128, 3.5, 64
CPU = torch.device("cpu")


def task(**arguments: float) -> ImplantArtefacts:
    made = ImplantArtefacts(
        side=SIDE, pixel_mm=PIXEL_MM, crop=CROP, scenes_per_patient=3, scenes_per_slice=0, **arguments
    )  # type: ignore[arg-type]
    made.begin([patient()], CPU, seed=4)
    return made


@cache
def patient() -> Anatomy:
    arrays = ImplantArtefacts(side=SIDE, pixel_mm=PIXEL_MM, crop=CROP).procedural(2)
    return Anatomy("patient", "patient", "procedural", arrays)


def draw(number: int) -> Draw:
    return Draw(patient(), np.random.default_rng(number), number)


def network(*, fresh: bool) -> ArtefactUnet:
    torch.manual_seed(1)
    made = ArtefactUnet(CHANNELS, 2, (4, 6, 8))
    if not fresh:
        nn.init.normal_(made.head.weight, std=0.02)
    return made.eval()


def same(one: Example, other: Example) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in vars(one))


def test_a_scene_is_the_same_whenever_it_is_made() -> None:
    first, second = task(), task()
    late = [second._scenes.twin_scenes(patient(), number).with_lesions for number in (2, 0)]
    early = [first._scenes.twin_scenes(patient(), number).with_lesions for number in (0, 1, 2)]
    assert same(early[0], late[1]) and same(early[2], late[0])
    assert not same(early[0], early[1])
    assert first._scenes.twin_scenes(patient(), 0).with_lesions is early[0]


def test_scenes_hold_metal_and_what_is_wanted_lacks_its_streaks() -> None:
    for number in range(3):
        one = task()._scenes.twin_scenes(patient(), number).with_lesions
        assert one.metal.any()
        far = one.away > 40
        assert np.abs(one.slices.astype(float) - one.wanted)[far].mean() > 1.0


def test_the_same_draws_give_the_same_batch() -> None:
    first, second = (task().batch([draw(5), draw(6)]) for _ in range(2))
    assert first.crops == second.crops
    assert torch.equal(first.evidence.channels(), second.evidence.channels())
    for crop in first.crops:
        assert crop.top % 2 == crop.left % 2 == 0
        assert 0 <= crop.top <= SIDE - CROP and 0 <= crop.left <= SIDE - CROP


def test_the_second_pass_comes_from_its_example_on() -> None:
    made = task(again_from=50, again_share=1.0)
    before, after = (made.batch([draw(number)]).crops[0].again for number in (49, 50))
    assert (before, after) == (False, True)


def test_a_network_that_changes_nothing_scores_nothing() -> None:
    tried = task().trial(network(fresh=True), [draw(1), draw(2)])
    assert tried.score == pytest.approx(0.0, abs=1e-9)
    assert tried.figures["excess_network2_beyond_hu"] == pytest.approx(tried.figures["excess_estimate_beyond_hu"])
    assert tried.figures["excess_uncorrected_beyond_hu"] > 0
    assert {"uncorrected", "estimate", "network1", "network2", "wanted"} == set(tried.pictures[0].images)


def test_a_network_that_spoils_the_image_scores_below_nothing() -> None:
    assert task().trial(network(fresh=False), [draw(1)]).score < 0


def test_the_loss_has_a_gradient_in_both_passes() -> None:
    made, net = task(again_share=1.0), network(fresh=False)
    made.loss(net, made.batch([draw(3), draw(4)])).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())


def test_patients_without_a_hip_are_refused() -> None:
    arrays = {**patient().arrays, "sites_mm": np.empty((0, 2), np.float32)}
    with pytest.raises(InputError, match="no metal can be placed"):
        task().begin([Anatomy("a", "a", "real", arrays)], CPU, 1)


@pytest.mark.parametrize(
    "wrong", [{"side": 100}, {"crop": 480}, {"pixel_mm": 0.0}, {"again_share": -0.1}, {"balance": -1.0}]
)
def test_sizes_without_meaning_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        ImplantArtefacts(**wrong)  # type: ignore[arg-type]


def test_a_twin_is_the_same_scan_without_lesions() -> None:
    scenes = task(lesion_weight=0.1)._scenes
    lesions = 0.0
    for number in range(3):
        twins = scenes.twin_scenes(patient(), number)
        one, other = twins.with_lesions, twins.without
        assert np.array_equal(one.share, other.share)
        made = (one.wanted.astype(float) - other.wanted)[one.share == 0]
        assert np.abs(made).max() < 130  # lesions are 20 to 60 HU, two may touch; noise is the same in both
        lesions += float(np.square(made).sum())
    assert lesions > 0


def test_losing_lesions_costs() -> None:
    plain, weighted = task(), task(lesion_weight=10.0)
    assert not plain.batch([draw(1)]).twins
    batch = weighted.batch([draw(1), draw(2)])
    assert batch.twins and batch.crops[:2] == batch.crops[2:] and len(batch.wanted) == 4
    net = network(fresh=False)
    with torch.no_grad():
        assert float(weighted.loss(net, batch)) > float(plain.loss(net, batch))
    tried = weighted.trial(network(fresh=True), [draw(1), draw(2)])
    assert 0 < tried.figures["lesions_lost"] < 2
    assert tried.score == pytest.approx(-tried.figures["lesions_lost"])


@pytest.mark.parametrize("kept", [0.0, 0.5, 1.0])
def test_the_share_of_a_lesion_that_is_lost(kept: float) -> None:
    lesion = torch.zeros(2, 20, 20)
    lesion[0, 5:12, 5:12] = 40.0  # the second pair has none, and is not counted
    lost = float(lost_share(kept * lesion, lesion, torch.ones_like(lesion)))
    energy = (1 - kept) ** 2
    assert lost == pytest.approx(energy / (1 + energy / LOST_TWICE))


def test_balance_weighs_slices_with_a_weak_artefact_more() -> None:
    made, net = task(), network(fresh=True)
    parts = []
    for balance in (0.0, 1.0):
        weighting = Weighting(0.0, balance)
        with torch.no_grad():
            losses = [float(artefact_loss(net, made.batch([draw(n)]), made._projector, weighting)) for n in range(6)]
        parts.append(np.std(losses) / np.mean(losses))
    assert parts[1] < parts[0]
