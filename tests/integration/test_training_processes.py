"""Training in real processes: several at once, and such as are killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from dicom_node.compose.command_context import NodeCommandContext
from dicom_node.contracts import Units, Volume
from simulation.phantoms import make_pelvis
from training.checkpoint import CheckpointFolder
from training.diary import read_metrics

HERE = Path(__file__).parent
SMALL = HERE.parent / "unit" / "training"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SMALL), "OMP_NUM_THREADS": "1"}

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]


def test_two_processes_have_the_gradient_of_one_with_twice_the_batch(tmp_path: Path) -> None:
    script = str(HERE / "gradient_of_processes.py")
    together = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script]
    for command, file in (([sys.executable, script], "one"), (together, "two")):
        done = subprocess.run(
            [*command, str(tmp_path / file)], env=ENVIRONMENT, capture_output=True, text=True, timeout=400, check=False
        )
        assert done.returncode == 0, done.stderr
    one, two = load_file(tmp_path / "one"), load_file(tmp_path / "two")
    assert one.keys() == two.keys()
    assert max(float(g.abs().max()) for g in one.values()) > 1e-2
    for name, gradient in one.items():
        torch.testing.assert_close(two[name], gradient, rtol=0, atol=1e-5)


def test_without_data_the_corrector_gets_weights_that_evaluate_and_correct_take(tmp_path: Path) -> None:
    def node(*words: object) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "dicom_node.cli", *map(str, words)],
            env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    short = ("fit.steps=6", "fit.batch=4", "data.procedural_patients=3", "validation.every=3", "validation.cases=1")
    node(
        "train", "hipct", "--out", "run", "--device", "cpu", "--max-minutes", "4", "--set", *short, "evaluation.cases=1"
    )
    package = tmp_path / "run" / "package"
    card = (package / "MODEL_CARD.md").read_text()
    assert "| `paper` |" in card
    assert "| `nmar` |" in card
    node("weights", "verify", package)
    node("simulate", "hipct", phantom(tmp_path), "--out", "pair", "--scenario", "crude", "--seed", "3")
    weights = ("--corrector", "hipct", "--method", "paper", "--weights", package, "--device", "cpu")
    told = json.loads(node("correct", "pair/artefact", "--out", "derived", "--json", *weights))
    assert told["failed"] == []
    assert {s["role"] for s in told["series"]} >= {"ct"}


def phantom(folder: Path) -> Path:
    """A small procedural pelvis as DICOM."""
    pelvis = make_pelvis(seed=5, slices=5, n_pixels=256, pixel_mm=1.7, spacing_mm=8.0)
    tags = {"ImageType": ("ORIGINAL", "PRIMARY", "AXIAL")}
    NodeCommandContext().write(Volume(pelvis.hu, Units.HU, pelvis.geometry), folder / "clean", tags=tags, seed=5)
    return folder / "clean"


def small_recipe(folder: Path, steps: int) -> Path:
    """The small task's recipe as a file."""
    sys.path.insert(0, str(SMALL))
    try:
        import small_task

        recipe = small_task.recipe(fit={"steps": steps}, validation={"every": 7})
    finally:
        sys.path.remove(str(SMALL))
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json", exclude_none=True)))
    return path


def command(recipe: Path, out: Path, *more: str) -> list[str]:
    """`dicom-node train` on the small task."""
    return [sys.executable, "-m", "dicom_node.cli", "train", "hipct", "--recipe", str(recipe), "--out", str(out),
            "--device", "cpu", "--no-evaluation", *more]  # fmt: skip


def wait_for_steps(out: Path, process: subprocess.Popen[bytes], count: int) -> None:
    """Until a process has written some steps, or has ended."""
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if (out / "metrics.jsonl").exists() and len(read_metrics(out)) >= count:
            return
        time.sleep(0.01)


def test_killed_at_random_and_resumed_it_gives_the_same_curve_and_weights(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, 200)
    subprocess.run(command(recipe, tmp_path / "whole"), env=ENVIRONMENT, check=True, capture_output=True, timeout=400)
    whole = [line["loss"] for line in read_metrics(tmp_path / "whole") if "loss" in line]
    rng = random.Random(4)
    killed = 0
    for _ in range(3):
        process = subprocess.Popen(
            command(recipe, tmp_path / "killed", "--resume"),
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        before = len(read_metrics(tmp_path / "killed"))
        wait_for_steps(tmp_path / "killed", process, before + rng.randint(1, 60))
        if process.poll() is None:
            process.kill()
            killed += 1
        process.wait(60)
    assert killed >= 1
    subprocess.run(
        command(recipe, tmp_path / "killed", "--resume"), env=ENVIRONMENT, check=True, capture_output=True, timeout=400
    )
    assert [line["loss"] for line in read_metrics(tmp_path / "killed") if "loss" in line] == whole
    for folder in ("checkpoints", "package"):
        assert (tmp_path / "killed" / folder).is_dir()
    one, other = (CheckpointFolder(tmp_path / n / "checkpoints").latest() for n in ("whole", "killed"))
    assert one is not None
    assert other is not None
    assert one.step == other.step == 200
    assert all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)
    tensors = [(tmp_path / n / "package" / "model.safetensors").read_bytes() for n in ("whole", "killed")]
    assert tensors[0] == tensors[1]


def test_ctrl_c_writes_a_checkpoint_and_a_package_and_says_how_to_go_on(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, 100_000)
    process = subprocess.Popen(
        command(recipe, tmp_path / "run"), env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=False
    )
    wait_for_steps(tmp_path / "run", process, 10)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert b"Interrupted" in out
    assert b"--resume" in out
    last = CheckpointFolder(tmp_path / "run" / "checkpoints").latest()
    assert last is not None
    steps = [line["step"] for line in read_metrics(tmp_path / "run") if "loss" in line]
    assert last.step == steps[-1]
    assert (tmp_path / "run" / "package" / "SHA256SUMS").is_file()
