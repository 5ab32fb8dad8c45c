"""From a recipe and folders to a task with its patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dicom_node.contracts import Advance, CommandContext, CommandOutput, LeftOut
from dicom_node.errors import InputError
from training.anatomy import Anatomy, Split, split_by_patient
from training.data_sheet import data_folders
from training.making import make_task
from training.pack import is_pack, read_pack, write_pack
from training.recipe import Recipe
from training.sources import gather, procedural_patients
from training.task import Task


@dataclass(frozen=True, eq=False)
class Prepared:
    """A task with its patients, and what was left out."""

    task: Task
    split: Split
    left_out: tuple[LeftOut, ...]


def prepare(context: CommandContext, recipe: Recipe, data: Sequence[Path], advance: Advance) -> Prepared:
    """Read or make the patients of a run, and split them.

    Raises:
        RequestError: a folder does not exist, or a sheet is wrong.
        InputError: nothing usable, or nobody is left for training.
    """
    task = make_task(recipe)
    packs = [path for path in data if is_pack(path)]
    folders = data_folders([path for path in data if path not in packs])
    gathered = gather(context, folders, task, advance)
    real: dict[str, Anatomy] = {a.digest: a for path in packs for a in read_pack(path, task.preparation)}
    real |= {a.digest: a for a in gathered.anatomies}
    made: tuple[Anatomy, ...] = ()
    if recipe.data.procedural_weight > 0 or not real:
        made = procedural_patients(task, recipe.data.procedural_patients, recipe.seed, advance)
    split = split_by_patient(
        [*real.values(), *made],
        validation_share=recipe.data.validation_share,
        test_share=recipe.data.test_share,
        seed=recipe.seed,
    )
    if not split.training:
        raise InputError("no patient is left for training: name more data, or lower the shares kept out")
    return Prepared(task, split, gathered.left_out)


def pack(context: CommandContext, recipe: Recipe, data: Sequence[Path], path: Path, output: CommandOutput) -> None:
    """Prepare the data and pack them into one file.

    Raises:
        RequestError: they do not fit.
        InputError: nothing usable.
        StorageFull, StorageFailed: the disk refuses.
    """
    task = make_task(recipe)
    with output.progress() as advance:
        gathered = gather(context, data_folders(data), task, advance)
    kept = write_pack(path, gathered.anatomies, task.preparation)
    frames, size = sum(a.frames for a in kept), path.stat().st_size
    tell_left_out(output, gathered.left_out)
    output.line(f"Packed {len(kept)} series, {frames} frames, {size / 2**20:.1f} MiB: {path}")
    output.document(
        {
            "pack": str(path),
            "series": len(kept),
            "frames": frames,
            "bytes": size,
            "left_out": [vars(one) for one in gathered.left_out],
        }
    )


def tell_data(output: CommandOutput, prepared: Prepared) -> None:
    """Print who is in which part, and what was left out."""
    tell_left_out(output, prepared.left_out)
    rows = []
    for part, those in prepared.split.parts.items():
        real = len({a.patient for a in those if a.kind == "real"})
        made = len({a.patient for a in those if a.kind == "procedural"})
        rows.append([part, real, made, sum(a.frames for a in those)])
    output.table("Patients", ["part", "real", "procedural", "frames"], rows)


def tell_left_out(output: CommandOutput, left_out: Sequence[LeftOut]) -> None:
    """Print what was left out, with the reasons."""
    if left_out:
        output.table("Left out", ["what", "reason"], [[one.what, one.reason] for one in left_out])
