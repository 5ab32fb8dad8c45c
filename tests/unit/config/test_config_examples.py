"""Every example configuration loads, and the documentation covers every key."""

import re
from pathlib import Path

import pytest

from dicom_node.config import load_config, sections
from dicom_node.config.conditions import AtLeast, TagOperators
from dicom_node.config.rules import Capture, Evidence, Rule
from dicom_node.plugins.catalogue import discover
from dicom_node.plugins.parameters import resolve
from dicom_node.routing import check_keywords

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "deploy").rglob("*.yaml"))
DOCUMENT = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)


def check(path):
    config = load_config(path)
    check_keywords(config.routes)
    specs = discover().specs
    for rule in config.routes:
        if rule.corrector in specs:
            resolve(specs[rule.corrector], rule.method, rule.parameters)
    return config


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_example_loads(path):
    check(path)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_example_in_the_documentation_loads(number, tmp_path):
    path = tmp_path / "example.yaml"
    path.write_text(BLOCKS[number], encoding="utf-8")
    assert check(path).routes or "routes:" not in BLOCKS[number]


def test_there_are_examples():
    assert len(EXAMPLES) >= 4 and len(BLOCKS) >= 4


def test_the_full_example_shows_the_defaults():
    shown = load_config(ROOT / "deploy" / "example.yaml")
    bare = sections.Config.model_validate(
        {"peers": {"pacs": shown.peers["pacs"].model_dump()}, "default_send_to": ["pacs"]}
    )
    assert shown.model_dump() == bare.model_dump()


@pytest.mark.parametrize(
    "model",
    [
        sections.NodeSection,
        sections.TlsServerSection,
        sections.PeerSection,
        sections.TlsClientSection,
        sections.AccessSection,
        sections.CallerSection,
        sections.IntakeSection,
        sections.JobsSection,
        sections.NotifySection,
        sections.Config,
        Rule,
        Capture,
        Evidence,
        TagOperators,
        AtLeast,
    ],
)
def test_every_key_is_documented(model):
    keys = [field.alias or name for name, field in model.model_fields.items()]
    missing = [key for key in keys if not re.search(rf"`{key}[`:]|\b{key}: ", DOCUMENT)]
    assert missing == []


PROMISED = """
node: {ae_title: CORRECTOR, host: 127.0.0.1, port: 11112, data_dir: ./var, database: sqlite, device: auto}
peers: {pacs: {ae_title: ORTHANC, host: 127.0.0.1, port: 4242}}
intake: {quiet_s: 30}
routes:                       # before the default routes that ship; `defaults: off` leaves those out
  - {name: hip, when: {Modality: CT}, corrector: hipct, method: best, parameters: {n_angles: 360}, send_to: [pacs],
     enabled: true}
default_send_to: [pacs]
"""
"""The shape that the project promises to keep."""


@pytest.mark.parametrize(("more", "defaults"), [("", True), ("defaults: off\n", False)])
def test_the_promised_configuration_loads_and_its_first_sections_are_the_defaults(more, defaults, tmp_path):
    path = tmp_path / "node.yaml"
    path.write_text(PROMISED + more, encoding="utf-8")
    config = load_config(path)
    (rule,) = config.routes
    assert (rule.name, rule.corrector, rule.method, rule.send_to, rule.enabled) == (
        "hip", "hipct", "best", ("pacs",), True
    )  # fmt: skip
    assert dict(rule.parameters) == {"n_angles": 360}
    assert config.defaults is defaults
    assert config.node == sections.NodeSection()
    assert config.intake == sections.IntakeSection()
    assert (config.peers["pacs"].ae_title, config.default_send_to) == ("ORTHANC", ("pacs",))
