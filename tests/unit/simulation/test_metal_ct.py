"""The simulated scanner behaves as scanners do."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from simulation.fan_projector import FanProjector, body_fan
from simulation.materials import COCRMO, TI6AL4V, UHMWPE, WATER, Material
from simulation.metal_ct import Chain, MetalSimulation, reference_hu, simulate_metal
from simulation.projection import Projector
from simulation.projector import ParallelProjector
from simulation.scanner import Acquisition, Scanner

SIZE, PIXEL_MM = 128, 3.2


def disc(x_mm: float, y_mm: float, diameter_mm: float) -> Tensor:
    grid = (torch.arange(SIZE) - (SIZE - 1) / 2) * PIXEL_MM
    distance = torch.hypot(grid[None, :] - x_mm, grid[:, None] - y_mm)
    return (0.5 - (distance - diameter_mm / 2) / PIXEL_MM).clamp(0, 1)[None]


def ellipse_body() -> Tensor:
    grid = (torch.arange(SIZE) - (SIZE - 1) / 2) * PIXEL_MM
    inside = (grid[None, :] / 170) ** 2 + (grid[:, None] / 115) ** 2 < 1
    return torch.where(inside, 0.0, -1000.0)[None]


@pytest.fixture(scope="module")
def simulate(projector: ParallelProjector, scanner: Scanner):
    def run(implants: dict[Material, Tensor], *, seed: int = 0, photons: float | None = None, **options: object):
        used = scanner
        if photons is not None:
            used = Scanner(replace(scanner.acquisition, photons=photons))
        body = options.pop("body", ellipse_body())
        generator = torch.Generator().manual_seed(seed)
        options.setdefault("projector", projector)
        return simulate_metal(body, implants, scanner=used, generator=generator, **options)

    return run


def rmse(result: MetalSimulation) -> float:
    """Error inside the body, away from metal [HU]."""
    near = ndimage.binary_dilation(result.metal[0].numpy(), iterations=2)
    grid = (np.arange(SIZE) - (SIZE - 1) / 2) * PIXEL_MM
    inside = (grid[None, :] / 160) ** 2 + (grid[:, None] / 105) ** 2 < 1
    error = (result.artefact - result.truth)[0].numpy()
    return float(np.sqrt((error[inside & ~near] ** 2).mean()))


def test_water_is_zero_hu_after_the_whole_chain(simulate) -> None:
    body = torch.where(disc(0, 0, 300) > 0.5, 0.0, -1000.0)
    result = simulate({}, body=body, chain=Chain.REPROJECTED)
    image = result.artefact[0].numpy()
    centre, rim = image[56:72, 56:72], image[60:68, 20:26]
    assert abs(centre.mean()) < 4
    assert abs(rim.mean()) < 4  # no cupping
    assert abs(image[2:10, 2:10].mean() + 1000) < 8


def test_water_correction_undoes_beam_hardening(scanner: Scanner) -> None:
    thin, thick = (scanner.transmission({WATER: torch.full((1, 1, 3), mm)}) for mm in (30.0, 400.0))
    raw = [float(-torch.log(t)[0, 0, 1]) for t in (thin, thick)]
    corrected = [float(scanner.line_integrals(t)[0, 0, 1]) for t in (thin, thick)]
    assert raw[1] / 400 < 0.95 * raw[0] / 30
    assert corrected[0] == pytest.approx(30 * scanner.water_per_mm, rel=5e-3)
    assert corrected[1] == pytest.approx(400 * scanner.water_per_mm, rel=5e-3)


def test_water_correction_goes_on_steadily_behind_metal(scanner: Scanner) -> None:
    transmission = torch.logspace(-1, -12, 200)[None, None]
    steps = scanner.line_integrals(transmission).diff()
    assert bool((steps > 0).all())
    assert float(steps.max() / steps.min()) < 1.5


def test_cobalt_chromium_streaks_more_than_titanium(simulate) -> None:
    place = disc(-85, 0, 26)
    titanium, cobalt = simulate({TI6AL4V: place}), simulate({COCRMO: place})
    assert rmse(cobalt) > 3 * rmse(titanium)
    assert rmse(titanium) > 1.5 * rmse(simulate({}))


def test_two_heads_darken_the_line_between_them(simulate) -> None:
    result = simulate({COCRMO: disc(-85, 0, 32) + disc(85, 0, 32)})
    between = (result.artefact - result.truth)[0, 62:66, 54:74]
    assert float(between.mean()) < -100


def test_noise_grows_with_fewer_photons(simulate) -> None:
    noise = [rmse(simulate({}, photons=photons)) for photons in (2e7, 2e6, 2e5)]
    assert noise[1] / noise[0] == pytest.approx(10**0.5, rel=0.15)
    assert noise[2] > 2 * noise[1]


def test_same_seed_same_result(simulate) -> None:
    implants = {TI6AL4V: disc(-85, 0, 14)}
    first, second, other = (simulate(implants, seed=s) for s in (5, 5, 6))
    assert torch.equal(first.artefact, second.artefact)
    assert not torch.equal(first.artefact, other.artefact)
    assert torch.equal(first.truth, other.truth)


def test_difference_chain_keeps_the_anatomy_exactly(simulate) -> None:
    body = ellipse_body() + 30 * torch.sin(torch.arange(SIZE) * 1.1)
    result = simulate({TI6AL4V: disc(-85, 0, 14)}, body=body)
    away = ndimage.distance_transform_edt(~result.metal[0].numpy()) > 3
    assert torch.equal(result.truth[0][torch.from_numpy(away)], body.clamp(-1024, 3071)[0][torch.from_numpy(away)])


def test_truth_shows_the_metal_clipped_to_twelve_bits(simulate) -> None:
    result = simulate({COCRMO: disc(-85, 0, 32)})
    assert float(result.truth.max()) == 3071
    assert float(result.artefact.max()) == 3071
    assert float(result.artefact.min()) >= -1024
    area = float(result.metal.sum()) * PIXEL_MM**2
    assert area == pytest.approx(np.pi * 16**2, rel=0.05)


def test_polyethylene_is_no_metal(simulate, scanner: Scanner) -> None:
    result = simulate({UHMWPE: disc(-85, 0, 32)}, body=ellipse_body() + 300)  # it displaces what was there
    assert not bool(result.metal.any())
    assert float(result.truth[0, 64, 37]) == pytest.approx(reference_hu(UHMWPE, scanner), abs=1)


@pytest.mark.parametrize("chain", list(Chain))
def test_the_floor_is_the_same_acquisition_without_metal(simulate, chain: Chain) -> None:
    made, other = (
        simulate({material: disc(-85, 0, 20)}, seed=3, chain=chain, photons=1e6) for material in (COCRMO, TI6AL4V)
    )
    nothing = simulate({COCRMO: torch.zeros(1, SIZE, SIZE)}, seed=3, chain=chain, photons=1e6)
    assert torch.equal(made.floor, other.floor)
    assert torch.equal(nothing.floor, nothing.artefact)
    assert torch.equal(made.floor, nothing.floor)
    assert float((made.floor - nothing.truth).std()) > 1.0


@pytest.fixture(scope="module")
def fan() -> FanProjector:
    return FanProjector(body_fan(SIZE, PIXEL_MM, 360), SIZE, PIXEL_MM)


def test_a_fan_beam_streaks_as_much_and_keeps_water(simulate, projector: ParallelProjector, fan: FanProjector) -> None:
    heads = {COCRMO: disc(-85, 0, 32) + disc(85, 0, 32)}
    parallel, fanned = (simulate(heads, projector=geometry) for geometry in (projector, fan))
    assert rmse(fanned) == pytest.approx(rmse(parallel), rel=0.25)
    assert not torch.equal(fanned.artefact, parallel.artefact)
    assert torch.equal(fanned.truth, parallel.truth)
    water = simulate({}, body=torch.where(disc(0, 0, 300) > 0.5, 0.0, -1000.0), chain=Chain.REPROJECTED, projector=fan)
    assert abs(float(water.artefact[0, 56:72, 56:72].mean())) < 4
    noise = [float((made.floor - made.truth)[made.truth == 0].std()) for made in (parallel, fanned)]
    assert noise[1] == pytest.approx(noise[0], rel=0.3)


@pytest.mark.parametrize("photons", [2e3, 1e7])
@pytest.mark.parametrize("geometry", ["projector", "fan"])
def test_rays_beside_the_metal_count_the_same_with_it_and_without(
    request: pytest.FixtureRequest, scanner: Scanner, photons: float, geometry: str
) -> None:
    projector: Projector = request.getfixturevalue(geometry)
    dosed = Scanner(replace(scanner.acquisition, photons=photons))
    water, metal = (ellipse_body() + 1000) / 1000, disc(-85, 0, 30)
    without = {WATER: projector.forward(water)}
    implanted = {WATER: projector.forward(water * (1 - metal)), COCRMO: projector.forward(metal)}
    noise = dosed.noise(without[WATER].shape, torch.Generator().manual_seed(1))
    before, after = (dosed.detect(dosed.transmission(lengths), noise) for lengths in (without, implanted))
    crossed = ndimage.maximum_filter1d((implanted[COCRMO] > 0).numpy(), 3, axis=-1)  # a detector sees its neighbours
    beside = ~torch.from_numpy(crossed)
    assert torch.equal(before[beside], after[beside])
    assert bool((before != after)[~beside].any())
    if photons < 1e6:  # some of them are starved
        assert int((before[beside] * photons < 30).sum()) > 500


def test_a_ray_that_sees_a_little_less_counts_hardly_less() -> None:
    scanner = Scanner(Acquisition(photons=1.0, scatter_counts=0.0, electronic_counts=0.0))
    expected = torch.linspace(2.0, 60.0, 400).expand(1, 200, 400).contiguous()
    noise = scanner.noise((1, 200, 1), torch.Generator().manual_seed(2))
    noise = replace(noise, quanta=noise.quanta.expand(1, 200, 400))
    steps = scanner.detect(expected, noise).diff(dim=-1)
    assert float(steps.min()) > -2 and float(steps.max()) < 2


@pytest.mark.parametrize("photons", [2.0, 10.0, 29.0, 31.0, 1e3])
def test_counts_have_the_noise_of_photons_and_electronics(photons: float) -> None:
    scanner = Scanner(Acquisition(photons=photons, scatter_counts=0.0, electronic_counts=2.0))
    whole = torch.ones(1, 300, 300)
    noise = scanner.noise((1, 300, 300), torch.Generator().manual_seed(1))
    counts = scanner.detect(whole, noise) * photons
    if photons >= 10:  # fewer than one count are read as one
        assert float(counts.mean()) == pytest.approx(photons, rel=0.01)
        assert float(counts.var()) == pytest.approx(photons + 4.0, rel=0.04)
    else:
        silent = Scanner(replace(scanner.acquisition, electronic_counts=0.0)).detect(whole, noise) * photons
        for count, share in enumerate((math.exp(-2) * 3, 2 * math.exp(-2), 4 / 3 * math.exp(-2)), start=1):
            assert float((silent.round() == count).float().mean()) == pytest.approx(share, abs=0.006)
    assert torch.equal(scanner.detect(whole, noise), scanner.detect(whole, noise))


def test_scatter_varies_between_slices(scanner: Scanner) -> None:
    dark = torch.zeros(4, 50, 50)
    only_scatter = Scanner(Acquisition(scatter_counts=1e4, scatter_spread=0.5, electronic_counts=0))
    noise = only_scatter.noise((4, 50, 50), torch.Generator().manual_seed(0))
    levels = only_scatter.detect(dark, noise).mean(dim=(1, 2))
    assert float(levels.max() / levels.min()) > 1.2


def test_refuses_shares_that_do_not_fit(simulate) -> None:
    with pytest.raises(ValueError, match="shape"):
        simulate({COCRMO: torch.zeros(1, 5, 5)})
    with pytest.raises(ValueError, match="between 0 and 1"):
        simulate({COCRMO: disc(0, 0, 20) * 2})
