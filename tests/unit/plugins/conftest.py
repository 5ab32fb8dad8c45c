"""Throw-away plugins: a module and a dist-info folder on sys.path."""

import importlib
import sys

import pytest

SPEC_TEXT = """
from dicom_node.contracts import Accepts, CorrectorSpec, Limits, Parameter, Units, WeightsRef

SPEC = CorrectorSpec(
    name={name!r}, version="1", api={api}, title="t",
    inputs={{"ct": Accepts("CT", Units.HU)}}, methods={{"classical": "x", "best": "y"}}, default_method="classical",
    factory={factory!r}, limits={{"ct": Limits(0.0, 1.0)}},
)
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Make and install a plugin: `plugin(name, code or None, **spec)`; imported modules are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)

    def make(name, code=None, *, dist=None, module=None, api=1, factory="nowhere:build", calls_itself=None):
        module = module or f"plug_{name}"
        text = SPEC_TEXT.format(name=calls_itself or name, api=api, factory=factory) if code is None else code
        (tmp_path / f"{module}.py").write_text(text, encoding="utf-8")
        info = tmp_path / f"{dist or module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {dist or module}\nVersion: 1.0\n", encoding="utf-8"
        )
        (info / "entry_points.txt").write_text(f"[dicom_node.correctors]\n{name} = {module}:SPEC\n", encoding="utf-8")
        importlib.invalidate_caches()
        return module

    yield make
    for module in set(sys.modules) - before:
        if module.startswith(("plug_", "torch")):
            del sys.modules[module]
