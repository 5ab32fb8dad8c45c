"""A broken plugin is named with its reason, and harms no other."""

import subprocess
import sys

import pytest

from dicom_node.plugins.catalogue import discover


def broken(name):
    return {b.name: b.reason for b in discover().broken}[name]


def test_a_plugin_is_found_beside_the_built_in_ones(plugin):
    plugin("extra")
    found = discover()
    assert {"extra", "hipct"} <= set(found.specs)
    assert found.broken == ()


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import a_module_that_is_not_there", "ModuleNotFoundError"),
        ("this is no python", "SyntaxError"),
        ("x = 1", "AttributeError"),
        ("SPEC = {'name': 'bad'}", "is a dict, not a CorrectorSpec"),
        ("SPEC = None\nclass SPEC: pass", "is a type, not a CorrectorSpec"),
    ],
)
def test_broken_plugins_are_isolated(plugin, code, wanted):
    plugin("bad", code)
    plugin("good")
    assert wanted in broken("bad") and "plug_bad" in broken("bad")
    assert "good" in discover().specs and "bad" not in discover().specs


def test_another_api_version_is_refused(plugin):
    plugin("old", api=0)
    assert "written for plugin API 0; this node has 1" in broken("old")


def test_a_name_that_disagrees_with_its_entry_point_is_refused(plugin):
    plugin("one", calls_itself="two")
    assert "calls itself 'two', its entry point 'one'" in broken("one")


def test_a_name_offered_twice_is_refused_with_both_packages(plugin):
    plugin("same", module="plug_first", dist="first-package")
    plugin("same", module="plug_second", dist="second-package")
    reason = broken("same")
    assert "first-package" in reason and "second-package" in reason
    assert "same" not in discover().specs


def test_torch_at_discovery_is_refused_every_time(plugin, tmp_path):
    (tmp_path / "torch.py").write_text("", encoding="utf-8")  # a stand-in: only the name counts
    plugin("heavy", "import torch\nfrom plug_light import SPEC")
    plugin("light", calls_itself="heavy")
    assert "imports torch at discovery" in broken("heavy")
    assert "imports torch at discovery" in broken("heavy"), "once torch is loaded, a second look must still see it"


def test_the_installed_correctors_keep_discovery_light():
    look = "from dicom_node.plugins.catalogue import discover; print(discover().broken, 'torch' in sys.modules)"
    code = f"import sys; {look}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "() False"
