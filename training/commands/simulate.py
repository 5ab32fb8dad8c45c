"""`dicom-node simulate`: what it is called with."""

from __future__ import annotations

import argparse
from pathlib import Path

from dicom_node.contracts import CommandSpec


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("corrector", metavar="CORRECTOR", help="Corrector whose artefacts are simulated.")
    parser.add_argument("inputs", metavar="INPUT", type=Path, nargs="+", help="Clean images: DICOM, ZIP or NIfTI.")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="Folder for artefact/ and truth/; of several images CASE/artefact/ and CASE/truth/.",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="Seed of everything random (default: 0).")
    parser.add_argument("--scenario", metavar="NAME", help="Kind of artefacts; default: the corrector's first.")


COMMAND = CommandSpec(
    name="simulate",
    summary="Simulate a corrector's artefacts into clean images: what the scanner would have sent, and the truth.",
    configure=configure,
    run="training.commands.simulate_run:run",
)
