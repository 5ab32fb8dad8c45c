"""Checkpoints: whole or not there, in shards that can be carried, never pickled."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dicom_node.errors import InputError
from training import checkpoint as checkpoints
from training.checkpoint import Checkpoint, CheckpointFolder, read_checkpoint


def tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    """A few tensors of several types and sizes."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "network.large": torch.randn(70, 100, generator=generator),
        "network.small": torch.randn(3, generator=generator),
        "optimiser.step.large": torch.tensor(float(seed)),
        "network.count": torch.tensor(7),
    }


def same(one: Checkpoint | None, other: dict[str, torch.Tensor]) -> bool:
    """Whether a checkpoint holds exactly these tensors."""
    assert one is not None
    return one.tensors.keys() == other.keys() and all(
        torch.equal(one.tensors[n], other[n]) and one.tensors[n].dtype == other[n].dtype for n in other
    )


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(Checkpoint(3, tensors(), {"best": -1.5}), best=True)
    latest = folder.latest()
    assert same(latest, tensors())
    assert (latest.step, latest.state) == (3, {"best": -1.5})  # type: ignore[union-attr]


def test_shards_stay_below_their_size_and_large_tensors_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "SHARD_BYTES", 10_000)
    monkeypatch.setattr(checkpoints, "_HEADER_ROOM", 1_000)
    path = CheckpointFolder(tmp_path).save(Checkpoint(1, tensors(), {}), best=False)
    shards = sorted(path.glob("shard-*.safetensors"))
    assert len(shards) >= 4
    assert all(shard.stat().st_size <= 10_000 for shard in shards)
    assert same(read_checkpoint(path), tensors())


def test_the_best_and_the_last_two_are_kept(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    for step in range(1, 7):
        folder.save(Checkpoint(step, tensors(step), {}), best=step == 2)
    assert sorted(p.name for p in tmp_path.glob("step-*")) == ["step-00000002", "step-00000005", "step-00000006"]
    assert folder.best().step == 2  # type: ignore[union-attr]
    assert folder.latest().step == 6  # type: ignore[union-attr]


def test_an_empty_folder_has_none(tmp_path: Path) -> None:
    assert CheckpointFolder(tmp_path / "none").latest() is None
    assert CheckpointFolder(tmp_path / "none").best() is None


def test_half_written_folders_are_not_seen_and_go_with_the_next_checkpoint(tmp_path: Path) -> None:
    (tmp_path / ".step-00000009.1").mkdir()
    (tmp_path / "step-00000008").mkdir()
    folder = CheckpointFolder(tmp_path)
    assert folder.latest() is None
    folder.save(Checkpoint(1, tensors(), {}), best=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["LATEST", "step-00000001"]


def test_when_all_are_damaged_it_is_told(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    path = folder.save(Checkpoint(1, tensors(), {}), best=False)
    (path / "shard-001.safetensors").unlink()
    with pytest.raises(InputError, match="no checkpoint can be read"):
        folder.latest()


@pytest.mark.parametrize("content", [b"", b"{}", b"\x80\x04pickle"])
def test_what_is_no_checkpoint_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_bytes(content)
    with pytest.raises(InputError, match="not a checkpoint"):
        read_checkpoint(tmp_path)
