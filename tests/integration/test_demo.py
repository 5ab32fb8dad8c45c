"""`dicom-node demo`, as `make demo` runs it where there is no real data."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image


@pytest.mark.slow
def test_the_demo_shows_the_derived_series_come_back(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dicom_node.cli", "demo", "--synthetic", "--json", "--out", str(tmp_path / "out")]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert "synthetic" in told["study"]
    came = {series["modality"]: series["instances"] for series in told["derived"]}
    assert came["CT"] == told["pushed"]
    assert {"SEG", "SR"} <= set(came)
    assert told["hu_rmse_after"] < told["hu_rmse_before"]
    with Image.open(told["picture"]) as picture:
        assert picture.width > picture.height
