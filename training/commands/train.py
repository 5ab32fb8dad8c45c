"""`dicom-node train`: what it is called with."""

from __future__ import annotations

import argparse
from pathlib import Path

from dicom_node.contracts import CommandSpec


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("corrector", metavar="CORRECTOR", help="Corrector whose weights are trained.")
    parser.add_argument("--recipe", type=Path, metavar="FILE", help="Recipe; default: the corrector's own.")
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="DIR",
        help="Images (DICOM, ZIP, NIfTI), a packed file, or a sheet (YAML); without it, procedural phantoms only.",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="Folder of the run; default: out/RECIPE-NAME.")
    parser.add_argument("--max-minutes", type=float, metavar="M", help="Stop after M minutes with the best weights.")
    parser.add_argument("--resume", action="store_true", help="Go on with the run in the folder.")
    # Not `--start`: torchrun takes that for an abbreviation of its own options.
    parser.add_argument(
        "--from",
        dest="start",
        type=Path,
        metavar="PACKAGE",
        help="Begin the run from the weights of a package, not at random.",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto).")
    parser.add_argument("--pack", type=Path, metavar="FILE", help="Only prepare the data and pack them into one file.")
    parser.add_argument("--search", type=int, metavar="N", help="Try N variants of the recipe, keep the best recipe.")
    parser.add_argument(
        "--set",
        dest="settings",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="Change a value of the recipe, by dotted key, e.g. fit.steps=500.",
    )
    parser.add_argument(
        "--trial",
        type=Path,
        metavar="PACKAGE",
        help="Train nothing: print the recipe's figures of a package on the test patients.",
    )
    parser.add_argument("--no-evaluation", action="store_true", help="Write the model card without an evaluation.")


COMMAND = CommandSpec(
    name="train",
    summary="Train a weights package: simulate, fit, choose, evaluate, package.",
    configure=configure,
    run="training.commands.train_run:run",
)
