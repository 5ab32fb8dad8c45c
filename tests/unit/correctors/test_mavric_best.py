"""Method `best`: what untrained networks leave alone, and what trained ones may and may not do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mavric_case import Case, package

from correctors.mavric.best import FIELD_STEP_HZ, INPUTS, load, refined, result
from correctors.mavric.best_network import FIELD_CHANNELS, IMAGE_CHANNELS, MavricNetworks
from correctors.mavric.classical import classical
from correctors.mavric.evidence import Combining, Evidence, gather, within
from correctors.mavric.paper_network import DualPolarityUnet
from dicom_node.errors import WeightsError

WIDTHS = {"field_widths": [4, 6], "image_widths": [4, 6, 8]}


def networks() -> MavricNetworks:
    torch.manual_seed(1)
    return MavricNetworks(**WIDTHS).eval()


def saying(*, field: tuple[float, float] = (0.0, 0.0), image: tuple[float, float] = (0.0, 0.0)) -> MavricNetworks:
    """Networks that give the same two numbers everywhere."""
    made = networks()
    for one, values in ((made.field, field), (made.image, image)):
        assert one.head.bias is not None
        with torch.no_grad():
            one.head.bias.copy_(torch.tensor(values).repeat_interleave(4))
    return made


def evidence(ppm: float = 900.0, side: int = 64) -> Evidence:
    return gather(Case(ppm, side=side).acquired)


def test_each_network_takes_its_own_channels() -> None:
    made = networks()
    assert made.multiple == 8
    with torch.no_grad():
        for channels in (FIELD_CHANNELS, IMAGE_CHANNELS):
            assert made(torch.rand(2, channels, 16, 24)).shape == (2, 2, 16, 24)
    with pytest.raises(ValueError, match="no network for 3 channels"):
        made(torch.rand(1, 3, 16, 16))


@torch.no_grad()
@pytest.mark.parametrize("side", [64, 50])
@pytest.mark.parametrize("combining", Combining)
def test_untrained_it_is_classical(combining: Combining, side: int) -> None:
    given = evidence(side=side)
    made, plain = result(networks(), given, combining), classical(given, combining)
    torch.testing.assert_close(made.off_resonance_hz, plain.off_resonance_hz)
    torch.testing.assert_close(made.attention, plain.attention, atol=2e-3, rtol=0)
    torch.testing.assert_close(made.confidence, plain.confidence, atol=2e-3, rtol=0)
    torch.testing.assert_close(made.image, plain.image, atol=5e-3 * float(given.scale), rtol=0)


@torch.no_grad()
def test_the_second_network_adds_nothing_beyond_the_bins() -> None:
    given, away = evidence(5000.0), (16.0, 0.0)  # 8 kHz: the bins reach 6.6 kHz
    plain, added = refined(saying(field=away), given), refined(saying(field=away, image=(0.0, 0.5)), given)
    share = within(plain.straight.field_hz, given.acquired.bins)
    beyond = share == 0
    assert beyond.any() and (share == 1).any()
    assert torch.equal(added.image[beyond], plain.image[beyond])
    torch.testing.assert_close(added.image[share == 1], (plain.image + 0.5 * given.scale)[share == 1])


@torch.no_grad()
def test_the_first_network_changes_field_and_attention() -> None:
    given = evidence()
    made = refined(saying(field=(1.0, 20.0)), given).straight
    torch.testing.assert_close(made.field_hz, given.first.field_hz + FIELD_STEP_HZ)
    torch.testing.assert_close(made.both, made.plus, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_second_network_can_fall_back_on_the_mean_or_trust_the_corrected_image() -> None:
    given = evidence()
    mean, sure = refined(saying(image=(-30.0, 0.0)), given), refined(saying(image=(30.0, 0.0)), given)
    torch.testing.assert_close(mean.image, given.mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(sure.image, sure.straight.both.clamp(min=0), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_images_are_never_negative() -> None:
    assert float(refined(saying(image=(0.0, -9.0)), evidence()).image.min()) == 0.0


@torch.no_grad()
def test_to_root_sums_of_squares_nothing_is_added() -> None:
    given = evidence()
    plain, added = (result(one, given, Combining.RSOS) for one in (networks(), saying(image=(0.0, 0.5))))
    assert torch.equal(plain.image, added.image)


def test_both_networks_learn() -> None:
    learning = saying(field=(0.1, 0.1), image=(0.1, 0.1))
    torch.autograd.backward([refined(learning, evidence()).image.square().mean()])
    for one in (learning.field.head.weight, learning.image.head.weight):
        assert one.grad is not None and one.grad.abs().sum() > 0


def test_a_package_is_loaded_as_it_was_kept(tmp_path: Path) -> None:
    kept = saying(field=(0.2, 0.3))
    loaded = load(package(tmp_path / "p", kept, WIDTHS, INPUTS), "cpu")
    given = evidence()
    with torch.no_grad():
        assert torch.equal(refined(loaded, given).image, refined(kept, given).image)


def test_packages_for_other_inputs_or_of_other_networks_are_refused(tmp_path: Path) -> None:
    for number, inputs in enumerate(({**INPUTS, "field_step_hz": 100.0}, {}, {**INPUTS, "more": 1})):
        other = package(tmp_path / str(number), networks(), WIDTHS, inputs)
        with pytest.raises(WeightsError, match="are for other inputs than this version of mavric/best makes"):
            load(other, "cpu")
    with pytest.raises(WeightsError, match="'DualPolarityUnet', but this method takes MavricNetworks"):
        load(package(tmp_path / "p", DualPolarityUnet(1), {"width": 1}, INPUTS), "cpu")
