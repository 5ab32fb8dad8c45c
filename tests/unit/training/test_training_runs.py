"""A run that was stopped goes on as if it had not been."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import small_task
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from run_case import begin, losses, train

from dicom_node.errors import InputError, RequestError, StorageFull
from training import files
from training.checkpoint import read_checkpoint
from training.diary import METRICS, FileDiary, SilentDiary, read_metrics
from training.run import TrainingDiverged, run_folder

KINDS = {"plain": {}, "dropout": {"dropout": 0.3}, "normalised": {"normalised": True}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of runs that nobody stopped."""
    folders = {}
    for kind, arguments in KINDS.items():
        folders[kind] = tmp_path_factory.mktemp(kind)
        train(small_task.recipe(network={"arguments": arguments}), folders[kind])
    return folders


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(sorted(KINDS)), cuts=st.lists(st.integers(1, 19), min_size=1, max_size=3, unique=True))
def test_a_run_that_died_goes_on_to_the_same_curve_and_weights(
    kind: str, cuts: list[int], whole: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.rmtree(out, ignore_errors=True)
    recipe = small_task.recipe(network={"arguments": KINDS[kind]})
    for cut in sorted(cuts):
        out.mkdir(exist_ok=True)
        run = begin(recipe, out)
        if (last := run_folder(out).latest()) is not None:
            run.resume(last)
        # It dies after step `cut`: what it wrote since its last checkpoint must not count.
        with pytest.raises(_Died):
            run.train(_Mortal(out, run.done, cut), deadline=None)
    train(recipe, out, resume=True)
    assert losses(out) == losses(whole[kind])
    ours, theirs = run_folder(out), run_folder(whole[kind])
    for mine, other in ((ours.latest(), theirs.latest()), (ours.best(), theirs.best())):
        assert mine is not None
        assert other is not None
        assert mine.step == other.step
        assert mine.tensors.keys() == other.tensors.keys()
        assert all(torch.equal(mine.tensors[name], other.tensors[name]) for name in mine.tensors)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(small_task.recipe(seed=seed), tmp_path / name)
    first, second, other = (run_folder(tmp_path / n).latest().tensors for n in "abc")  # type: ignore[union-attr]
    assert all(torch.equal(first[n], second[n]) for n in first)
    assert not torch.equal(first["network.layers.0.weight"], other["network.layers.0.weight"])


def test_it_learns(tmp_path: Path) -> None:
    train(small_task.recipe(fit={"steps": 150}, validation={"every": 50}), tmp_path)
    curve = losses(tmp_path)
    assert sum(curve[-20:]) < 0.5 * sum(curve[:20])


def test_time_up_stops_with_a_checkpoint_that_a_continuation_forgets(tmp_path: Path, whole: dict[str, Path]) -> None:
    recipe = small_task.recipe()
    ended = train(recipe, tmp_path, stop_after_s=0.0)
    assert (ended.why, ended.step) == ("time", 1)
    assert run_folder(tmp_path).best() is not None
    assert train(recipe, tmp_path, resume=True).why == "done"
    assert losses(tmp_path) == losses(whole["plain"])
    assert run_folder(tmp_path).best().step == run_folder(whole["plain"]).best().step  # type: ignore[union-attr]


def test_gradient_accumulation_gives_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    for name, parts in (("one", 1), ("four", 4)):
        train(small_task.recipe(fit={"steps": 3, "accumulate": parts, "batch": 8}), tmp_path / name)
    one, four = (run_folder(tmp_path / n).latest().tensors for n in ("one", "four"))  # type: ignore[union-attr]
    for name in one:
        torch.testing.assert_close(one[name], four[name], rtol=1e-4, atol=1e-6)


def test_a_batch_that_cannot_be_divided_is_told(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="batch of 4 cannot be divided by 1 processes with accumulate 3"):
        begin(small_task.recipe(fit={"accumulate": 3}), tmp_path)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"network": {"arguments": {"width": 5}}}, "another network"),
        ({"fit": {"learning_rate": 0.02}}, "another recipe"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(change: dict[str, object], what: str, tmp_path: Path) -> None:
    train(small_task.recipe(), tmp_path)
    with pytest.raises(InputError, match=what):
        train(small_task.recipe(**change), tmp_path, resume=True)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path, whole: dict[str, Path]) -> None:
    recipe = small_task.recipe()
    train(recipe, tmp_path)
    shard = tmp_path / "checkpoints" / "step-00000020" / "shard-001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(InputError, match="altered or cut"):
        read_checkpoint(shard.parent)
    latest = run_folder(tmp_path).latest()
    assert latest is not None
    assert latest.step == 15
    train(recipe, tmp_path, resume=True)
    assert losses(tmp_path) == losses(whole["plain"])


def test_a_full_disk_in_the_middle_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = small_task.recipe()
    run = begin(recipe, tmp_path)
    fill = _Filled(tmp_path, monkeypatch, at=8)
    with pytest.raises(StorageFull, match="make room and continue with --resume"):
        run.train(fill, deadline=None)
    monkeypatch.undo()
    latest = run_folder(tmp_path).latest()
    assert latest is not None
    assert latest.step == 5
    assert not list((tmp_path / "checkpoints").glob(".step-*"))
    train(recipe, tmp_path, resume=True)
    assert run_folder(tmp_path).latest().step == 20  # type: ignore[union-attr]


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    recipe = small_task.recipe(fit={"learning_rate": 1e30, "ema": 0.0, "steps": 400}, validation={"every": 1})
    with pytest.raises(TrainingDiverged, match=r"a lower fit\.learning_rate"):
        train(recipe, tmp_path)
    assert run_folder(tmp_path).latest() is not None


def test_metrics_hold_every_step_and_trial(tmp_path: Path) -> None:
    train(small_task.recipe(), tmp_path)
    lines = read_metrics(tmp_path)
    assert [line["step"] for line in lines if "score" in line] == [5, 10, 15, 20]
    assert {"loss", "gradient_norm", "learning_rate", "examples_per_second"} <= set(lines[0])


def test_half_a_line_of_metrics_is_forgotten(tmp_path: Path, whole: dict[str, Path]) -> None:
    recipe = small_task.recipe()
    train(recipe, tmp_path, stop_after_s=0.0)
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"step": 2, "lo')
    train(recipe, tmp_path, resume=True)
    assert losses(tmp_path) == losses(whole["plain"])


class _Died(Exception):
    pass


class _Mortal:
    """A diary of a process that dies at a step, after it was written."""

    def __init__(self, out: Path, done: int, at: int) -> None:
        self._diary, self._at = FileDiary(out, done, lambda text, step: None), at

    def step(self, step: int, values: dict[str, float]) -> None:
        self._diary.step(step, values)
        if step >= self._at:
            self._diary.close()
            raise _Died

    def tried(self, step: int, trial: object) -> None:
        self._diary.tried(step, trial)  # type: ignore[arg-type]


class _Filled(SilentDiary):
    """From a step on the disk refuses."""

    def __init__(self, out: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
        self._patch, self._at = monkeypatch, at

    def step(self, step: int, values: object) -> None:
        if step == self._at:
            import errno
            import os

            def refuse(_: int) -> None:
                raise OSError(errno.ENOSPC, "No space left on device")

            self._patch.setattr(os, "fsync", refuse)
            assert files.os.fsync is refuse


def test_a_full_disk_under_the_metrics_is_told_as_such(tmp_path: Path) -> None:
    """Writing to /dev/full fails as a full disk does."""
    (tmp_path / METRICS).symlink_to("/dev/full")
    run = begin(small_task.recipe(), tmp_path)
    diary = FileDiary.__new__(FileDiary)
    diary._shown, diary._folder, diary._board = (lambda text, step: None), tmp_path, None
    diary._file = (tmp_path / METRICS).open("a")
    with pytest.raises(StorageFull, match="continue with --resume"):
        try:
            run.train(diary, deadline=None)
        finally:
            diary.close()


def test_who_trained_what_is_kept(tmp_path: Path) -> None:
    train(small_task.recipe(), tmp_path, stop_after_s=0.0)
    commits = run_folder(tmp_path).latest().state["commits"]  # type: ignore[union-attr]
    assert len(commits) == 1
    train(small_task.recipe(), tmp_path, resume=True)
    assert run_folder(tmp_path).latest().state["commits"] == commits  # type: ignore[union-attr]
