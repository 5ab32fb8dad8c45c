"""`dicom-node train`, on the small task."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_task
import torch
import yaml
from run_case import prepared
from safetensors.torch import load_file

from dicom_node.compose.command_context import NodeCommandContext
from dicom_node.contracts import Geometry, Units, Volume
from dicom_node.errors import InputError, RequestError
from training.commands import train
from training.commands.train_run import run
from training.making import start_from
from training.recipe import read_recipe


class Heard:
    """An output that remembers."""

    as_json = False

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.documents: list[Any] = []
        self.tables: dict[str, Any] = {}

    def document(self, value: object) -> None:
        self.documents.append(json.loads(json.dumps(value)))

    def line(self, text: str) -> None:
        self.lines.append(text)

    def table(self, title: str, columns: object, rows: object) -> None:
        self.tables[title] = rows

    @contextmanager
    def progress(self) -> Iterator[Any]:
        yield lambda what, done, total: None


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(small_task.recipe().as_yaml())
    return path


def called(*words: object) -> Heard:
    """Run the command."""
    parser = argparse.ArgumentParser()
    train.configure(parser)
    heard = Heard()
    run(NodeCommandContext(), parser.parse_args(["--device", "cpu", *map(str, words)]), heard)
    return heard


def test_a_run_leaves_recipe_metrics_checkpoints_and_package(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    heard = called("hipct", "--recipe", recipe, "--out", out, "--set", "fit.steps=10", "network.arguments.width=3")
    told = heard.documents[0]
    assert (told["ended"], told["steps"]) == ("done", 10)
    assert (out / "package" / "MODEL_CARD.md").is_file()
    assert read_recipe(out / "recipe.yaml").network.arguments["width"] == 3
    assert any("no evaluation section" in line for line in heard.lines)
    assert [row[0] for row in heard.tables["Patients"]] == ["training", "validation", "test"]
    assert list((out / "tensorboard").glob("events.*"))


def test_a_run_goes_on_with_its_own_recipe(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    called("hipct", "--recipe", recipe, "--out", out, "--set", "fit.steps=10")
    with pytest.raises(RequestError, match="holds a run: go on with --resume"):
        called("hipct", "--recipe", recipe, "--out", out)
    assert called("hipct", "--out", out, "--resume").documents[0]["steps"] == 10
    with pytest.raises(InputError, match="another recipe"):
        called("hipct", "--recipe", recipe, "--out", out, "--resume")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--max-minutes", "0"), "must be a number above 0"),
        (("--max-minutes", "nan"), "must be a number above 0"),
        (("--device", "gpu"), "must be auto, cpu or cuda"),
        (("--set", "fit.steps"), "needs KEY=VALUE"),
        (("--set", "fit.steps=[1"), "is no YAML value"),
        (("--set", "fit.stpes=1"), "has no key"),
        (("--data", "nowhere"), "nowhere"),
        (("--pack", "x.pack"), "needs --data"),
        (("--search", "3"), "no `search` section"),
    ],
)
def test_wrong_requests_are_told(words: tuple[str, ...], told: str, recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=told):
        called("hipct", "--recipe", recipe, "--out", tmp_path / "run", *words)


def test_a_recipe_of_another_corrector_is_refused(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="there is: hipct, mavric"):
        called("cine", "--recipe", recipe, "--out", tmp_path / "run")
    with pytest.raises(RequestError, match="is for hipct, not for mavric"):
        called("mavric", "--recipe", recipe, "--out", tmp_path / "run")
    recipe.write_text(recipe.read_text().replace("corrector: hipct", "corrector: mavric"))
    with pytest.raises(RequestError, match="is for mavric"):
        called("hipct", "--recipe", recipe, "--out", tmp_path / "run")


def patients(folder: Path, count: int) -> Path:
    """CT series of several patients; the last has one slice only."""
    for number in range(count):
        slices = 1 if number == count - 1 else 3
        geometry = Geometry((1, 0, 0), (0, 1, 0), (1, 1), tuple((0, 0, 3.0 * z) for z in range(slices)), 16, 16, 3.0)
        pixels = np.full((slices, 16, 16), 10.0 * number, np.float32)
        tags = {"PatientName": f"Canary^Number{number}", "PatientID": f"CANARY{number}"}
        NodeCommandContext().write(Volume(pixels, Units.HU, geometry), folder / str(number), tags=tags, seed=number)
    return folder


def test_data_is_read_split_and_reported_and_names_stay_out(recipe: Path, tmp_path: Path) -> None:
    data = patients(tmp_path / "ct", 6)
    out = tmp_path / "run"
    heard = called("hipct", "--recipe", recipe, "--data", data, "--out", out, "--set", "fit.steps=5")
    assert [row[1] for row in heard.tables["Patients"]] == [3, 1, 1]
    assert [row[1] for row in heard.tables["Left out"]] == ["fewer than two slices"]
    written = b"".join(p.read_bytes() for p in out.rglob("*") if p.is_file())
    assert b"anary" not in written.lower() and b"CANARY" not in written


def test_a_pack_trains_like_the_data_it_was_made_from(recipe: Path, tmp_path: Path) -> None:
    data = patients(tmp_path / "ct", 6)
    pack = tmp_path / "ct.pack"
    told = called("hipct", "--recipe", recipe, "--data", data, "--pack", pack).documents[0]
    assert told["series"] == 5
    assert pack.stat().st_size == told["bytes"] < 1 << 20
    digests = {}
    for name, source in (("data", data), ("pack", pack)):
        out = tmp_path / name
        digests[name] = called("hipct", "--recipe", recipe, "--data", source, "--out", out).documents[0]["sha256"]
    assert digests["data"] == digests["pack"]


def test_a_folder_without_a_usable_series_is_told(recipe: Path, tmp_path: Path) -> None:
    data = patients(tmp_path / "ct", 1)
    with pytest.raises(InputError, match=r"can be used for training(.|\n)*fewer than two slices"):
        called("hipct", "--recipe", recipe, "--data", data, "--out", tmp_path / "run")


def test_the_figures_of_a_package_on_the_test_patients_can_be_printed_again(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    called("hipct", "--recipe", recipe, "--out", out)
    first = called("hipct", "--recipe", recipe, "--trial", out / "package").documents[0]["figures"]
    assert first == called("hipct", "--recipe", recipe, "--trial", out / "package").documents[0]["figures"]
    assert f"mse: {first['mse']:.2f}" in (out / "package" / "MODEL_CARD.md").read_text()
    with pytest.raises(InputError, match="not the weights of SmallNet"):
        called("hipct", "--recipe", recipe, "--trial", tmp_path)


def test_a_search_keeps_the_best_recipe_and_goes_on_where_it_ended(recipe: Path, tmp_path: Path) -> None:
    searched = small_task.recipe(
        search={
            "steps": 6,
            "values": {
                "fit.learning_rate": {"low": 1e-6, "high": 0.05, "log": True},
                "network.arguments.width": {"choices": [2, 4]},
            },
        }
    )
    recipe.write_text(searched.as_yaml())
    out = tmp_path / "search"
    first = called("hipct", "--recipe", recipe, "--out", out, "--search", "3").documents[0]
    again = called("hipct", "--recipe", recipe, "--out", out, "--search", "5", "--resume").documents[0]
    assert (first["trials"], again["trials"]) == (3, 5)
    assert again["score"] >= first["score"]
    best = read_recipe(out / "best.yaml")
    assert best.fit.learning_rate == again["values"]["fit.learning_rate"]
    assert best.fit.steps == searched.fit.steps


def test_a_run_can_begin_with_the_weights_of_another(recipe: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    told = called("hipct", "--recipe", recipe, "--out", first, "--set", "fit.steps=40").documents[0]
    # With a rate next to nothing the weights stay what they began as.
    still = ("--set", "fit.steps=4", "fit.learning_rate=1e-12")
    called("hipct", "--recipe", recipe, "--out", second, *still, "--from", first / "package")
    begun, ended = (load_file(out / "package" / "model.safetensors") for out in (first, second))
    assert all(torch.allclose(begun[name].float(), ended[name].float(), atol=2e-3) for name in begun)
    description = yaml.safe_load((second / "package" / "model.yaml").read_text())
    assert description["started_from"] == told["sha256"]
    assert told["sha256"] in (second / "package" / "MODEL_CARD.md").read_text()
    again = called("hipct", "--recipe", recipe, "--out", second, *still, "--resume").documents[0]
    assert yaml.safe_load((second / "package" / "model.yaml").read_text())["started_from"] == told["sha256"]
    assert again["steps"] == 4


def test_a_run_does_not_begin_with_weights_that_saw_those_it_is_judged_on(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    called("hipct", "--recipe", recipe, "--out", out)
    with pytest.raises(InputError, match="not the weights of SmallNet"):
        called("hipct", "--recipe", recipe, "--out", tmp_path / "x", "--from", tmp_path)
    with pytest.raises(RequestError, match="--from goes with a run"):
        called("hipct", "--recipe", recipe, "--out", tmp_path / "y", "--from", out / "package", "--search", "2")
    split = prepared(small_task.recipe())[1]
    description = out / "package" / "model.yaml"
    document = yaml.safe_load(description.read_text())
    document["training_data"]["training"]["series"] = [split.test[0].series]
    description.write_text(yaml.safe_dump(document))
    network = small_task.SmallNet(**document["architecture"]["arguments"])
    with pytest.raises(InputError, match="1 series that this run keeps for judging"):
        start_from(network, out / "package", split)
