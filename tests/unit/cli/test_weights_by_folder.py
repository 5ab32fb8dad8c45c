"""A weights package in any folder: verified, used, and written into what is derived."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import yaml
from safetensors.numpy import save

from dicom_node.dicom.private_block import read_block
from dicom_node.plugins import weights
from dicom_node.testing.series import SyntheticSeries

Run = Callable[..., Any]
PLUGIN = """
from dicom_node.contracts import Accepts, CorrectorSpec, Limits, Units, WeightsRef
SPEC = CorrectorSpec(
    name="adder", version="1", api=1, title="Adds", inputs={"ct": Accepts("CT", Units.HU)},
    methods={"fixed": "adds one", "learnt": "adds what the package says"}, default_method="fixed",
    factory="plug_adder_infer:build", limits={"ct": Limits(-4096.0, 32767.0)},
    weights={"learnt": WeightsRef("plug_adder_data", "weights", "DIGEST")},
)
"""
INFER = """
import yaml
from dicom_node.contracts import Correction
from dicom_node.errors import WeightsError

class Adder:
    def __init__(self, step): self.step = step
    def correct(self, inputs):
        ct = inputs["ct"]
        return Correction(changed=True, volumes={"ct": ct.with_pixels(ct.pixels + self.step)})

def build(*, method, weights, device, parameters):
    if weights is None:
        return Adder(1.0)
    arguments = yaml.safe_load((weights / "model.yaml").read_text())["architecture"]["arguments"]
    if "step" not in arguments:
        raise WeightsError(f"{weights}: another architecture")
    return Adder(float(arguments["step"]))
"""


def make_package(folder: Path, **arguments: float) -> str:
    """A sound package; its digest."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(save({"step": np.full(3, sum(arguments.values()), np.float32)}))
    described = dict.fromkeys(weights.REQUIRED_KEYS, "x") | {"architecture": {"name": "n", "arguments": arguments}}
    (folder / "model.yaml").write_text(yaml.safe_dump(described))
    (folder / "MODEL_CARD.md").write_text("# Card")
    sums = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}
    (folder / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()))
    return sums["model.safetensors"]


@pytest.fixture
def adder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed corrector whose own package adds 5; the folder of that package."""
    site = tmp_path / "site"
    own = site / "plug_adder_data" / "weights"
    digest = make_package(own, step=5.0)
    (site / "plug_adder_data" / "__init__.py").write_text("")
    (site / "plug_adder.py").write_text(PLUGIN.replace("DIGEST", digest))
    (site / "plug_adder_infer.py").write_text(INFER)
    info = site / "plug_adder-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug-adder\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dicom_node.correctors]\nadder = plug_adder:SPEC\n")
    before = set(sys.modules)
    monkeypatch.syspath_prepend(site)
    importlib.invalidate_caches()
    yield own
    for module in set(sys.modules) - before:
        if module.startswith("plug_"):
            del sys.modules[module]


def corrected(run: Run, tmp_path: Path, name: str, *options: object) -> pydicom.Dataset:
    if not (tmp_path / "in").exists():
        SyntheticSeries(slices=2, rows=16, columns=16).write(tmp_path / "in")
    result = run("correct", tmp_path / "in", "--out", tmp_path / name, "--corrector", "adder", *options, "--json")
    assert result.status == 0, result.err + result.out
    first = result.document["series"][0]
    return pydicom.dcmread(sorted(first["files"])[0])


def step(dataset: pydicom.Dataset, folder: Path) -> float:
    source = next(d for d in map(pydicom.dcmread, folder.iterdir()) if d.InstanceNumber == dataset.InstanceNumber)
    return float(np.median(dataset.pixel_array.astype(float) - source.pixel_array))


def test_the_package_of_a_folder_is_used_and_told(run: Run, tmp_path: Path, adder: Path) -> None:
    digest = make_package(tmp_path / "trained", step=9.0)
    shipped = corrected(run, tmp_path, "shipped", "--method", "learnt")
    own = corrected(run, tmp_path, "own", "--method", "learnt", "--weights", tmp_path / "trained")
    assert (step(shipped, tmp_path / "in"), step(own, tmp_path / "in")) == (5.0, 9.0)
    assert own.SeriesInstanceUID != shipped.SeriesInstanceUID
    assert own.SOPInstanceUID != shipped.SOPInstanceUID
    assert digest in read_block(own).values()
    assert digest in own.DerivationDescription
    assert str(tmp_path) not in str(own)


def test_without_a_method_the_default_one_gets_it_even_if_it_came_without(
    run: Run, tmp_path: Path, adder: Path
) -> None:
    digest = make_package(tmp_path / "trained", step=9.0)
    assert step(corrected(run, tmp_path, "plain"), tmp_path / "in") == 1.0
    given = corrected(run, tmp_path, "given", "--weights", tmp_path / "trained")
    assert step(given, tmp_path / "in") == 9.0
    assert digest in read_block(given).values()


@pytest.mark.parametrize(
    ("options", "status", "says"),
    [
        (("--weights", "trained"), 2, "--weights needs --corrector"),
        (("--corrector", "adder", "--weights", "nowhere"), 2, "nowhere is no folder"),
        (("--corrector", "adder", "--weights", "in"), 1, "in is no weights package: it holds no SHA256SUMS"),
        (("--corrector", "adder", "--weights", "altered"), 1, "model.safetensors was altered"),
    ],
)
def test_what_cannot_be_used_is_told_before_any_file_is_read(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adder: Path, options: Any, status: int, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make_package(tmp_path / "altered", step=2.0)
    (tmp_path / "altered" / "model.safetensors").write_bytes(b"\xff")
    (tmp_path / "in").mkdir()
    result = run("correct", "in", "--out", "out", *options)
    assert result.status == status
    assert says in result.err
    assert not (tmp_path / "out").exists()


def test_verify_finds_an_architecture_that_does_not_fit(run: Run, tmp_path: Path, adder: Path) -> None:
    assert verdict(run)["ok"] is True
    described = yaml.safe_load((adder / "model.yaml").read_text())
    described["architecture"]["arguments"] = {"depth": 3}
    (adder / "model.yaml").write_text(yaml.safe_dump(described))
    sums = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in adder.iterdir() if p.name != "SHA256SUMS"}
    (adder / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()))
    found = verdict(run)
    assert found["ok"] is False
    assert "another architecture" in found["detail"]


def verdict(run: Run) -> Any:
    result = run("weights", "verify", "--json")
    (found,) = [p for p in result.document["packages"] if p["corrector"] == "adder"]
    assert result.document["ok"] is all(p["ok"] for p in result.document["packages"])
    assert found["ok"] or result.status == 1
    return found


def test_folders_are_verified_by_themselves(run: Run, tmp_path: Path) -> None:
    digest = make_package(tmp_path / "good", step=1.0)
    make_package(tmp_path / "bad", step=2.0)
    (tmp_path / "bad" / "more.txt").write_text("x")
    good = run("weights", "verify", tmp_path / "good", "--json")
    assert good.status == 0
    (only,) = good.document["packages"]
    assert (only["folder"], only["corrector"], only["detail"]) == (str(tmp_path / "good"), None, digest)
    both = run("weights", "verify", tmp_path / "good", tmp_path / "bad")
    assert both.status == 1
    assert f"{tmp_path / 'good'}: ok" in both.out
    assert "more.txt is not listed" in both.out


def test_the_list_tells_architecture_parameters_and_size(run: Run, adder: Path) -> None:
    (found,) = [p for p in run("weights", "list", "--json").document["packages"] if p["corrector"] == "adder"]
    assert (found["architecture"], found["parameters"]) == ("n", 3)
    assert found["mib"] == 0.0
    assert "adder" in run("weights", "list").out
    (adder / "model.yaml").unlink()
    (found,) = [p for p in run("weights", "list", "--json").document["packages"] if p["corrector"] == "adder"]
    assert found["architecture"] is None
