"""`dicom-node evaluate`: what it is called with."""

from __future__ import annotations

import argparse
from pathlib import Path

from dicom_node.contracts import CommandSpec


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("corrector", metavar="CORRECTOR", help="Corrector whose methods are compared.")
    parser.add_argument(
        "--out", type=Path, required=True, help="Folder for report.md, report.json and pictures; made when missing."
    )
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="DIR",
        help="Clean images (DICOM, ZIP, NIfTI) or a sheet; artefacts are simulated into them; without it, phantoms.",
    )
    parser.add_argument(
        "--pairs", type=Path, metavar="DIR", help="Given pairs instead: DIR/CASE/artefact and DIR/CASE/truth."
    )
    parser.add_argument(
        "--test-of",
        type=Path,
        metavar="PACKAGE",
        help="Only those series of --data that this weights package was neither trained nor chosen on.",
    )
    parser.add_argument("--methods", default="", metavar="A,B,C", help="Methods, the reference first; default: all.")
    parser.add_argument(
        "--weights",
        nargs="+",
        action="extend",
        default=[],
        metavar="METHOD=DIR",
        help="Weights package of a method, instead of the installed one.",
    )
    parser.add_argument("--scenario", metavar="NAME", help="Kind of artefacts; default: the corrector's first.")
    parser.add_argument("--cases", type=int, metavar="N", help="Number of simulated cases (default: 8).")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="Seed of everything random (default: 0).")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto).")


COMMAND = CommandSpec(
    name="evaluate",
    summary="Compare a corrector's methods on simulated or given cases: figures, confidence, pictures.",
    configure=configure,
    run="training.commands.evaluate_run:run",
)
