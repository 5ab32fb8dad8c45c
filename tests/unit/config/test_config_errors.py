"""Every mistake in a configuration is named with file, line, column and what would be right."""

import pytest

from dicom_node.config import load_config
from dicom_node.errors import ConfigError

ROUTE = "routes:\n  - name: hip\n    corrector: hipct\n"


def complaint(tmp_path, text):
    path = tmp_path / "node.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    return str(caught.value).replace(f"{path}:", "")


def test_empty_file_is_all_defaults(tmp_path):
    path = tmp_path / "node.yaml"
    path.write_text("", encoding="utf-8")
    config = load_config(path)
    assert (config.node.port, config.defaults, config.routes) == (11112, True, ())


@pytest.mark.parametrize(("word", "wanted"), [("off", False), ('"off"', False), ("on", True), ("false", False)])
def test_defaults_off_is_read_quoted_or_not(tmp_path, word, wanted):
    path = tmp_path / "node.yaml"
    path.write_text(f"defaults: {word}\n", encoding="utf-8")
    assert load_config(path).defaults is wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("node: {portt: 11112}\n", ["1:8: node.portt: unknown key"]),
        ("node:\n  ae_title: CORRECTOR\n  port: 0\n", ["3:3: node.port:", "greater than or equal to 1"]),
        ("node: {port: [}\n", ["1:15: not valid YAML"]),
        ("node: {port: 1}\nnode: {port: 2}\n", ["2:1: the key 'node' is given twice"]),
        ("node:\n  ? [a]\n  : 1\n", ["2:5: a key must be a text"]),
        ("node: &a {port: *a}\n", ["1:1: nested too deep, or an anchor that holds itself"]),
        (f"node: {'{a: ' * 2000}", ["1:1: nested too deep"]),
        ("node: {ae_title: 2020-13-45}\n", ["1:1: not valid YAML: month must be"]),
        ("intake: {quiet_s: .inf}\n", ["1:10: intake.quiet_s:", "finite number"]),
        ("- node\n", ["1:1: the configuration must be a mapping"]),
        ("peers: {pacs: {ae_title: PACS, host: here}}\n", ["1:9: peers.pacs.port: this key is required"]),
        ("default_send_to: [pacs]\n", ["default_send_to names unknown peers ['pacs']"]),
        (ROUTE + "    send_to: [pacs]\n", ["route 'hip' sends to unknown peers ['pacs']"]),
        (ROUTE + "  - name: hip\n    corrector: hipct\n", ["two routes have the same name"]),
        (ROUTE + "    wehn: {Modality: CT}\n", ["4:5: routes.0.wehn: unknown key"]),
        ("routes: [{name: hip}]\n", ["routes.0.corrector: this key is required"]),
    ],
)
def test_section_mistakes(tmp_path, text, wanted):
    message = complaint(tmp_path, text)
    assert all(part in message for part in wanted), message


@pytest.mark.parametrize(
    ("when", "wanted"),
    [
        ("{modality: CT}", ["4:12: routes.0.when.modality: not a DICOM keyword", "at_least"]),
        ("{al: [{Modality: CT}]}", ["4:12: routes.0.when.al: not a DICOM keyword"]),
        ("{Modality: {equls: CT}}", ["4:23: routes.0.when.Modality.equls: unknown key"]),
        ("{Modality: {}}", ["4:12: routes.0.when.Modality: ask something of the tag"]),
        ("{SeriesDescription: {matches: '(hip'}}", ["4:32:", "matches: not a valid regular expression: missing )"]),
        ("{any: [{Modality: CT}, {Rows: {min: 9, max: 3}}]}", ["4:35: routes.0.when.any.1.Rows: min 9 is above max 3"]),
        (
            "{at_least: {n: 3, of: [{Modality: CT}]}}",
            ["4:12: routes.0.when.at_least: 3 of 1 conditions can never hold"],
        ),
        ("{at_least: {n: 1}}", ["routes.0.when.at_least.of: this key is required"]),
        ("{geometry: orientation, equals: axail}", ["4:35: routes.0.when.equals: ", "'axial'"]),
        ("{geometry: orientatoin, equals: axial}", ["4:12: routes.0.when.geometry:", "'orientation'"]),
        ("{geometry: slices}", ["slices needs min, max or both"]),
        ("{tag: SeriesDescription, contains: hip}", ["4:36: routes.0.when.contains: unknown key"]),
        ("{count: instances}", ["give min, max or both"]),
        ("{not: [{Modality: CT}]}", ["4:12: routes.0.when.not: a condition is a mapping"]),
        ("CT", ["4:5: routes.0.when: a condition is a mapping"]),
        ("{BurnedInAnnotation: NO}", ["4:12: routes.0.when.BurnedInAnnotation:", "put it in quotes"]),
        ("{any: []}", ["4:12: routes.0.when.any:"]),
        ("{Modality: {absent: true, equals: CT}}", ["must be absent cannot also have a value"]),
    ],
)
def test_condition_mistakes(tmp_path, when, wanted):
    message = complaint(tmp_path, ROUTE + f"    when: {when}\n")
    assert all(part in message for part in wanted), message
    assert message.count("\n") == 0, "one mistake must give one line"
    assert "<" not in message, "marks of the grammar must not show"


@pytest.mark.parametrize(
    ("extra", "wanted"),
    [
        ("capture: [{tag: EchoNumbers}]", "give either pattern (with named groups) or name"),
        ("capture: [{tag: EchoNumbers, pattern: 'bin ([0-9]+)'}]", "needs a named group"),
        (
            "capture: [{tag: EchoNumbers, name: bin, map: {pol: {a: [b]}}}]",
            "map names ['pol'], but the captures are ['bin']",
        ),
        ("roles: {plus: {captured: {polarity: plus}}}", "role 'plus' asks for ['polarity'], but no capture reads them"),
        ("evidence: {same_captures: [bin]}", "evidence.same_captures names ['bin']"),
        ("enabled: 1", "valid boolean"),
        ("scope: series", "'study' or 'patient'"),
        ("parameters: {n: [1]}", "4:18: routes.0.parameters.n"),
    ],
)
def test_rule_mistakes(tmp_path, extra, wanted):
    message = complaint(tmp_path, ROUTE + f"    {extra}\n")
    assert wanted in message, message


def test_all_mistakes_are_told_at_once(tmp_path):
    message = complaint(tmp_path, "node: {portt: 1}\nintake: {quiet: 3}\n")
    assert [line.split(":")[0] for line in message.splitlines()] == ["1", "2"]


def test_short_and_long_forms_mean_the_same(tmp_path):
    path = tmp_path / "node.yaml"
    path.write_text(
        "routes:\n"
        "  - {name: short, corrector: c, when: {Modality: [CT, MR], KVP: 120}}\n"
        "  - {name: long, corrector: c, when: {Modality: {in: [CT, MR]}, KVP: {equals: 120}}}\n",
        encoding="utf-8",
    )
    short, long = load_config(path).routes
    assert short.when == long.when
