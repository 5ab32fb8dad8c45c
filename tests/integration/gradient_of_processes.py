"""Gradient of one training step, by as many processes as `torchrun` starts; the first one writes it.

python gradient_of_processes.py FILE
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "training"))

import small_task
from run_case import prepared

from training.diary import SilentDiary
from training.making import make_network
from training.processes import joined
from training.run import Run, run_folder


def main(file: Path) -> None:
    """Take one step and write the gradient that it used."""
    recipe = small_task.recipe(fit={"batch": 8, "steps": 1, "ema": 0.0})
    torch.set_num_threads(1)
    with joined("cpu") as processes:
        task, split = prepared(recipe)
        torch.manual_seed(recipe.seed)
        network = make_network(recipe)
        run = Run(recipe, task, network, split, processes, run_folder(file.parent / f"run-{processes.count}"))
        ended = run.train(SilentDiary(), deadline=None)
        assert ended.step == 1
        if processes.first:
            save_file({n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}, str(file))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
