"""Independent readers on exports, and canary names in six character sets through a whole archive."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import canaries
import pydicom
import pytest
import yaml
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless

from dicom_node.contracts import FileRef
from dicom_node.database import Database
from dicom_node.dicom.deidentify_file import deidentified_file
from dicom_node.dicom.deidentify_pseudonyms import Pseudonyms
from dicom_node.testing.series import SyntheticSeries, mr_series

sys.path.append(str(Path(__file__).parents[1] / "unit" / "keeping"))
from keeping_site import START, ReceiverStandIn, make_site, work

SERIES = {
    "ct": SyntheticSeries(slices=2, rows=40, columns=40),
    "mr": mr_series(slices=2, phases=2, rows=40, columns=40),
    "jpeg 2000": SyntheticSeries(slices=2, rows=40, columns=40, transfer_syntax_uid=JPEG2000Lossless),
    "jpeg-ls": mr_series(slices=2, rows=40, columns=40, transfer_syntax_uid=JPEGLSLossless),
    "contrast": SyntheticSeries(slices=2, rows=40, columns=40, tags={"ContrastBolusAgent": "CANARY 100 ml"}),
}


def errors(path: Path) -> set[str]:
    """What dciodvfy calls an error, without the values and names that differ by intent."""
    found = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    lines = (found.stdout + found.stderr).splitlines()
    return {re.sub(r"<[^>]*>|'[^']*'", "", line) for line in lines if line.startswith("Error")}


@pytest.mark.parametrize("kind", SERIES)
def test_an_export_has_no_error_that_its_source_has_not(tmp_path, kind, need_program) -> None:
    need_program("dciodvfy", "dcmdump")
    pseudonyms = Pseudonyms(bytes(range(32)))
    for number, path in enumerate(SERIES[kind].write(tmp_path)):
        source = pydicom.dcmread(path)
        canaries.identify(source, "CANARY^Name")
        identified, exported = tmp_path / f"identified{number}.dcm", tmp_path / f"exported{number}.dcm"
        source.save_as(identified)
        exported.write_bytes(deidentified_file(FileRef(identified), "somebody", pseudonyms))
        assert errors(exported) - errors(path) == set()
        dumped = subprocess.run(["dcmdump", "-q", str(exported)], capture_output=True, check=False)
        assert (dumped.returncode, dumped.stderr) == (0, b"")
        assert (pydicom.dcmread(exported).pixel_array == source.pixel_array).all()


def test_nobody_is_in_the_folder_nor_in_what_the_command_says(tmp_path) -> None:
    var, out = tmp_path / "var", tmp_path / "out"
    var.mkdir()
    with closing(Database.open(f"sqlite:///{var}/node.sqlite")) as database:
        site = make_site(var, database)
        receiver = ReceiverStandIn(var / "spool")
        for number, patient in enumerate(canaries.PATIENTS, start=1):
            for path in canaries.write_study(tmp_path / "study" / str(number), patient, "CANARY HIP", seed=number):
                receiver.receive(path, START)
        receiver.release(START)
        receiver.die()
        work(site.room.intake(), START)
    config = tmp_path / "node.yaml"
    config.write_text(yaml.safe_dump({"node": {"data_dir": str(var), "min_free_mb": 0}}))
    command = [sys.executable, "-m", "dicom_node.cli", "export", "--config", str(config), "--out", str(out)]
    heard = subprocess.run([*command, "--deidentify", "--json"], capture_output=True, timeout=300, check=False)
    assert heard.returncode == 0, heard.stderr
    files = sorted(path for path in out.rglob("*") if path.is_file())
    assert len(files) == 6 * len(canaries.PATIENTS) + 1
    said = [("command", heard.stdout + heard.stderr)]
    found = [
        (name, trace)
        for name, data in (*said, *((str(p), p.read_bytes() + str(p.relative_to(out)).encode()) for p in files))
        for trace in canaries.traces(data)
    ]
    assert not found, found[:10]
    in_archive = {t.secret for p in (var / "archive").rglob("*.dcm") for t in canaries.traces(p.read_bytes())}
    assert in_archive >= {"CANARY", canaries.BIRTH_DATE}, "the search finds what is there"
