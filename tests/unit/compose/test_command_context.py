"""What commands of other packages are handed: input sets as the router finds them, correctors as workers build them."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save

from dicom_node.compose import command_context
from dicom_node.compose.command_context import NodeCommandContext
from dicom_node.contracts import Accepts, CommandContext, CorrectorSpec, Limits, Parameter, Units
from dicom_node.errors import InputError, PluginError, RequestError, WeightsError
from dicom_node.plugins import weights
from dicom_node.plugins.catalogue import Catalogue
from dicom_node.testing.series import SyntheticSeries, mr_series

FACTORY = """
class Built:
    def __init__(self, **given): self.given = given
    def correct(self, inputs): raise NotImplementedError
def build(**given): return Built(**given)
"""
HIP = CorrectorSpec(
    name="hipct",
    version="1",
    api=1,
    title="t",
    inputs={"ct": Accepts("CT", Units.HU, wants=("KVP",))},
    methods={"classical": "x", "best": "y"},
    default_method="classical",
    factory="plug_context_factory:build",
    limits={"ct": Limits(-1024.0, 3071.0)},
    parameters={"width": Parameter(3, "width", minimum=1)},
)
MAVRIC = replace(
    HIP,
    name="mavric",
    inputs={role: Accepts("MR", Units.MR_SIGNAL, axes="bzyx") for role in ("plus", "minus")},
    limits=dict.fromkeys(("plus", "minus"), Limits(0.0, 1e5)),
)


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CommandContext]:
    (tmp_path / "plug_context_factory.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(command_context, "discover", lambda: Catalogue({"hipct": HIP, "mavric": MAVRIC}))
    yield NodeCommandContext()
    sys.modules.pop("plug_context_factory", None)


def polarity(name: str, number: int) -> SyntheticSeries:
    return mr_series(
        slices=3, phases=4, rows=16, columns=16, series_number=number, series_description=f"MAVRIC SL {name}"
    )


def test_roles_are_found_from_headers_and_each_can_be_written_like_its_series(context, tmp_path):
    polarity("POL PLUS", 1).write(tmp_path / "a")
    polarity("POL MINUS", 2).write(tmp_path / "b")
    (roles,) = context.read_roles([tmp_path / "a", tmp_path / "b"], "mavric")
    assert set(roles) == {"plus", "minus"}
    assert roles["plus"].volume.shape == (4, 3, 16, 16)
    assert roles["plus"].volume.axes == "bzyx"
    assert roles["plus"].label != roles["minus"].label
    assert roles["plus"].patient == roles["minus"].patient != ""
    for role, image in roles.items():
        written = image.volume.with_pixels(image.volume.pixels + 1)
        context.write(written, tmp_path / "out" / role, like=image.template, seed=1)
    (again,) = context.read_roles([tmp_path / "out"], "mavric")
    for role, image in roles.items():
        assert np.allclose(again[role].volume.pixels, image.volume.pixels + 1, atol=1)


def test_cues_are_not_asked_when_the_corrector_is_named(context, tmp_path):
    words = dict.fromkeys(("series_description", "study_description", "protocol_name"), "x")
    SyntheticSeries(slices=3, body_part="ABDOMEN", **words).write(tmp_path)
    (roles,) = context.read_roles([tmp_path], "hipct")
    assert float(roles["ct"].volume.tags["KVP"]) == 120


def test_a_set_that_is_not_whole_is_left_out_and_the_others_are_read(context, tmp_path):
    torn = SyntheticSeries(slices=3, seed=1).write(tmp_path / "torn")[-1]
    torn.write_bytes(torn.read_bytes()[:-100])
    with pytest.raises(InputError, match=torn.name):
        context.read_roles([tmp_path], "hipct")
    SyntheticSeries(slices=4, seed=2).write(tmp_path / "whole")
    (roles,) = context.read_roles([tmp_path], "hipct")
    assert roles["ct"].volume.shape[0] == 4


def test_nothing_that_the_corrector_takes_says_why(context, tmp_path):
    series = mr_series(slices=2)
    series.write(tmp_path / "mr")
    (tmp_path / "brain.nii.gz").write_bytes(b"x")
    with pytest.raises(InputError, match=r"nothing that hipct takes") as caught:
        context.read_roles([tmp_path], "hipct")
    assert series.series_instance_uid in str(caught.value)
    assert "NIfTI does not tell its role" in str(caught.value)
    with pytest.raises(RequestError, match="no such file"):
        context.read_roles([tmp_path / "nowhere"], "hipct")


def test_correctors_are_named_and_built_as_asked(context):
    assert context.spec("hipct") is HIP
    with pytest.raises(RequestError, match="'ghost' is not installed; installed: hipct, mavric"):
        context.spec("ghost")
    built = context.build("hipct", "best", device="cpu", parameters={"width": 7})
    assert built.given == {"method": "best", "weights": None, "device": "cpu", "parameters": {"width": 7}}
    assert context.build("hipct", "classical").given["device"] == "auto"
    with pytest.raises(RequestError, match="no method 'magic'"):
        context.build("hipct", "magic")
    with pytest.raises(RequestError, match="at least 1"):
        context.build("hipct", "best", parameters={"width": 0})


def test_weights_from_a_folder_are_verified_and_handed_over(context, tmp_path):
    folder = tmp_path / "trained"
    folder.mkdir()
    with pytest.raises(WeightsError, match=r"no weights package: it holds no SHA256SUMS"):
        context.build("hipct", "best", weights=folder)
    (folder / "model.safetensors").write_bytes(save({"conv": np.zeros(3, np.float16)}))
    described = dict.fromkeys(weights.REQUIRED_KEYS, "x") | {"architecture": {"name": "n", "arguments": {}}}
    (folder / "model.yaml").write_text(yaml.safe_dump(described))
    (folder / "MODEL_CARD.md").write_text("# Card")
    sums = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}" for p in sorted(folder.iterdir())]
    (folder / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    built = context.build("hipct", "best", device="cpu", weights=folder)
    assert built.given["weights"] == folder
    (folder / "model.safetensors").write_bytes(b"\xff")
    with pytest.raises(WeightsError, match="was altered"):
        context.build("hipct", "best", device="cpu", weights=folder)
    with pytest.raises(WeightsError, match="is no folder"):
        context.build("hipct", "best", weights=tmp_path / "nowhere")


def test_a_factory_that_is_not_there_is_a_plugin_error(context, monkeypatch):
    monkeypatch.setattr(
        command_context, "discover", lambda: Catalogue({"hipct": replace(HIP, factory="plug_absent:build")})
    )
    with pytest.raises(PluginError, match="cannot import plug_absent"):
        NodeCommandContext().build("hipct", "classical")
