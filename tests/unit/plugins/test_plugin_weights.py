"""Weights packages are whole and unaltered, or refused by name; building verifies first."""

import hashlib
import sys
from dataclasses import replace

import numpy as np
import pytest
import yaml
from safetensors.numpy import save

from dicom_node.contracts import Accepts, CorrectorSpec, Limits, Units, WeightsRef
from dicom_node.errors import CorrectionRefused, PluginError, WeightsError
from dicom_node.plugins import weights
from dicom_node.plugins.catalogue import Catalogue
from dicom_node.plugins.loader import build

DESCRIPTION = dict.fromkeys(weights.REQUIRED_KEYS, "x") | {"architecture": {"name": "net", "arguments": {"width": 4}}}


def seal(folder, sums=None):
    """Write SHA256SUMS for all files, as `sha256sum *` would."""
    files = sorted(p for p in folder.iterdir() if p.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}" for p in files]
    (folder / "SHA256SUMS").write_text("\n".join(sums if sums is not None else lines) + "\n", encoding="ascii")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A sound package inside an import package, and its reference."""
    folder = tmp_path / "plug_weighty" / "weights" / "best"
    folder.mkdir(parents=True)
    (tmp_path / "plug_weighty" / "__init__.py").write_text("raise RuntimeError('must not be imported')\n")
    (folder / "model.safetensors").write_bytes(save({"conv.weight": np.zeros((4, 1, 3, 3), np.float16)}))
    (folder / "model.yaml").write_text(yaml.safe_dump(DESCRIPTION), encoding="utf-8")
    (folder / "MODEL_CARD.md").write_text("# Card\n", encoding="utf-8")
    seal(folder)
    monkeypatch.syspath_prepend(tmp_path)
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    return folder, WeightsRef("plug_weighty", "weights/best", digest)


def test_a_sound_package_is_verified_without_importing_code(package):
    folder, ref = package
    found = weights.verify(ref)
    assert (found.directory, found.sha256) == (folder, ref.sha256)
    assert found.tensor_shapes == {"conv.weight": (4, 1, 3, 3)}
    assert found.description["architecture"]["arguments"] == {"width": 4}
    assert "plug_weighty" not in sys.modules


def alter_bytes(folder):
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)


def replace_weights(folder):
    alter_bytes(folder)
    seal(folder)


def describe(folder, **changes):
    kept = {k: v for k, v in (DESCRIPTION | changes).items() if v is not None}
    (folder / "model.yaml").write_text(yaml.safe_dump(kept), encoding="utf-8")
    seal(folder)


def not_tensors(folder):
    (folder / "model.safetensors").write_bytes(b"\xff" * 32)
    seal(folder)


def add_file(folder):
    (folder / "model.pkl").write_bytes(b"")


def remove_card(folder):
    (folder / "MODEL_CARD.md").unlink()


def remove_card_and_seal(folder):
    remove_card(folder)
    seal(folder)


@pytest.mark.parametrize(
    ("damage", "wanted"),
    [
        (alter_bytes, "model.safetensors was altered"),
        (replace_weights, "is not the one that the corrector was released with"),
        (remove_card, "MODEL_CARD.md is missing"),
        (remove_card_and_seal, "SHA256SUMS does not list MODEL_CARD.md"),
        (add_file, "model.pkl is not listed in SHA256SUMS"),
        (lambda f: (f / "SHA256SUMS").unlink(), "cannot read SHA256SUMS"),
        (lambda f: seal(f, ["zz  ../../etc/passwd"]), "SHA256SUMS:1 is not"),
        (lambda f: describe(f, commit=None), "model.yaml lacks commit"),
        (lambda f: describe(f, architecture="net"), "architecture must give name and arguments"),
    ],
)
def test_damage_is_refused_and_named(package, damage, wanted):
    folder, ref = package
    damage(folder)
    with pytest.raises(WeightsError) as caught:
        weights.verify(ref)
    assert wanted in str(caught.value)


def test_what_is_no_safetensors_is_refused_even_when_sealed(package):
    folder, ref = package
    not_tensors(folder)
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    with pytest.raises(WeightsError, match="is not a safetensors file"):
        weights.verify(replace(ref, sha256=digest))


@pytest.mark.parametrize(
    "ref", [WeightsRef("plug_nowhere.deep", "weights", "0"), WeightsRef("plug_weighty", "nope", "0")]
)
def test_missing_packages_are_named(package, ref):
    with pytest.raises(WeightsError, match=r"plug_nowhere\.deep|nope"):
        weights.verify(ref)


def test_a_package_in_a_folder_of_its_own_is_referred_to_and_verified(package, tmp_path, monkeypatch):
    folder, ref = package
    monkeypatch.chdir(tmp_path)
    own = weights.weights_from(folder.relative_to(tmp_path))
    assert own == WeightsRef("", str(folder), ref.sha256)
    assert weights.verify(own) == weights.verify(ref)
    alter_bytes(folder)
    with pytest.raises(WeightsError, match="was altered"):
        weights.verify(own)


def test_what_is_no_package_is_said_plainly(package, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder, says in ((tmp_path / "nope", "is no folder"), (tmp_path / "empty", "holds no SHA256SUMS")):
        with pytest.raises(WeightsError, match=says):
            weights.weights_from(folder)
    seal(package[0], ["0" * 64 + "  MODEL_CARD.md"])
    with pytest.raises(WeightsError, match=r"does not list model\.safetensors"):
        weights.weights_from(package[0])
    for directory in ("relative/weights", str(tmp_path / "gone")):
        with pytest.raises(WeightsError, match="there is no folder"):
            weights.locate(WeightsRef("", directory, "0"))


def test_weights_of_a_folder_replace_those_of_one_method(package):
    folder, ref = package
    spec = make_spec("a:b", WeightsRef("plug_weighty", "weights/old", "0" * 64))
    changed = weights.with_weights(spec, "best", folder)
    assert changed.weights == {"best": WeightsRef("", str(folder), ref.sha256)}
    assert set(weights.with_weights(spec, "classical", folder).weights) == {"best", "classical"}
    assert spec.weights["best"].directory == "weights/old"


def test_looking_tells_size_and_shapes_without_digests(package):
    folder, ref = package
    found = weights.look(replace(ref, sha256="other"))
    assert found.parameters == 36
    remove_card(folder)
    assert weights.look(ref).description["architecture"]["name"] == "net"
    (folder / "model.yaml").unlink()
    with pytest.raises(WeightsError, match="cannot be read: FileNotFoundError"):
        weights.look(ref)


def make_spec(factory, ref=None):
    return CorrectorSpec(
        name="demo",
        version="1",
        api=1,
        title="t",
        inputs={"ct": Accepts("CT", Units.HU)},
        methods={"classical": "x", "best": "y"},
        default_method="classical",
        factory=factory,
        limits={"ct": Limits(0.0, 1.0)},
        weights={} if ref is None else {"best": ref},
    )


def test_packages_are_listed(package):
    spec = make_spec("a:b", package[1])
    assert weights.list_packages(Catalogue({"demo": spec})) == [("demo", "best", package[1])]


FACTORY = """
from dicom_node.contracts import CorrectionRefused
class Built:
    def __init__(self, **given): self.given = given
    def correct(self, inputs): raise NotImplementedError
def build(**given): return Built(**given)
def breaks(**given): raise ValueError("no such layer")
def refuses(**given): raise CorrectionRefused("not on this device")
def gives_nothing(**given): return None
not_callable = 3
"""


@pytest.fixture
def factory(tmp_path, monkeypatch):
    (tmp_path / "plug_factory.py").write_text(FACTORY, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield "plug_factory"
    sys.modules.pop("plug_factory", None)


def test_build_hands_over_verified_weights_device_and_parameters(package, factory):
    spec = make_spec(f"{factory}:build", package[1])
    given = build(spec, "best", "cpu", {"n": 1}).given
    assert given == {"method": "best", "weights": package[0], "device": "cpu", "parameters": {"n": 1}}
    assert build(spec, "classical", "cpu", {}).given["weights"] is None


def test_altered_weights_stop_before_any_code_runs(package, factory):
    alter_bytes(package[0])
    with pytest.raises(WeightsError):
        build(make_spec(f"{factory}:build", package[1]), "best", "cpu", {})
    assert factory not in sys.modules


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("plug_factory:breaks", "cannot build demo/classical: ValueError: no such layer"),
        ("plug_factory:gives_nothing", "gave a NoneType, which has no correct()"),
        ("plug_factory:not_callable", "has no callable 'not_callable'"),
        ("plug_factory:missing", "has no callable 'missing'"),
        ("plug_absent:build", "cannot import plug_absent: ModuleNotFoundError"),
    ],
)
def test_what_cannot_be_built_is_a_plugin_error(factory, name, wanted):
    with pytest.raises(PluginError) as caught:
        build(make_spec(name), "classical", "cpu", {})
    assert wanted in str(caught.value)


def test_node_errors_of_a_factory_pass_and_unknown_methods_are_named(factory):
    with pytest.raises(CorrectionRefused, match="not on this device"):
        build(make_spec(f"{factory}:refuses"), "classical", "cpu", {})
    with pytest.raises(PluginError, match="demo has no method 'magic'"):
        build(make_spec(f"{factory}:build"), "magic", "cpu", {})
