"""A node whose ledger was damaged or copied back, with a real PACS: after `repair` the end state is the same."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import hip_study
import psutil
from node import Node, node
from peers import Orthanc, wait_until

QUICK = {
    "name": "hip",
    "when": {"Modality": "CT"},
    "corrector": "hipct",
    "method": "li",
    "parameters": {"n_angles": 180},
}


def push(one: Node, folder: Path, storescu: Callable[..., object], **options: object) -> int:
    """A study of eight images; the seed tells studies apart."""
    hip_study.write(folder, **options)
    assert storescu(one.port, [folder]).returncode == 0
    return len(list(folder.iterdir()))


def copy_ledger(one: Node, target: Path) -> None:
    """As a backup does it while the node runs."""
    with (
        closing(sqlite3.connect(one.folder / "var" / "node.sqlite")) as source,
        closing(sqlite3.connect(target)) as copy,
    ):
        source.backup(copy)


def remove_ledger(one: Node) -> None:
    for path in (one.folder / "var").glob("node.sqlite*"):
        path.unlink()


def repaired(one: Node, *options: str) -> dict[str, object]:
    result = one.run("repair", *options)
    assert result.returncode == 0, result.stdout + result.stderr
    return dict(json.loads(result.stdout))


def derived(orthanc: Orthanc) -> dict[str, int]:
    """Series in the PACS, all derived, with their number of instances."""
    return {s["MainDicomTags"]["SeriesInstanceUID"]: len(s["Instances"]) for s in orthanc.series()}


def archived(one: Node) -> int:
    return len(list((one.folder / "var" / "archive").rglob("*.dcm")))


def finished(one: Node, jobs: int) -> None:
    """All is filed, corrected and delivered; then the node stops."""
    one.wait_jobs("DELIVERED", jobs)
    wait_until(lambda: not list((one.folder / "var" / "spool" / "files").iterdir()), what="an empty spool")
    assert one.stop() == 0


def test_the_end_state_is_the_same(tmp_path: Path, orthanc: Orthanc, storescu: Callable[..., object]) -> None:
    pacs = {"ae_title": orthanc.ae_title, "host": "127.0.0.1", "port": orthanc.port}
    with node(tmp_path / "node", {"pacs": pacs}, routes=[QUICK]) as one:
        ledger = one.folder / "var" / "node.sqlite"
        images = push(one, tmp_path / "first", storescu, seed=1)
        one.wait_jobs("DELIVERED", 1)
        copy_ledger(one, tmp_path / "copy.sqlite")
        images += push(one, tmp_path / "second", storescu, seed=2)
        one.wait_jobs("DELIVERED", 2)
        before = derived(orthanc)
        # The last study is only in the spool when the node dies.
        psutil.Process(one.pids()["intake-0"]).suspend()
        images += push(one, tmp_path / "third", storescu, seed=3)
        refused = one.run("repair")
        assert refused.returncode == 2
        assert "is running" in json.loads(refused.stdout)["error"]
        one.kill()

        remove_ledger(one)
        shutil.copy(tmp_path / "copy.sqlite", ledger)
        found = repaired(one)
        assert found | {"entered": 8, "lost": 0, "damaged_ledger": None} == found
        one.start()
        finished(one, 3)
        after, instances = derived(orthanc), orthanc.sop_instance_uids()
        assert after.items() >= before.items(), "each derived series is there once, as it was"
        assert len(after) == len(before) * 3 // 2, "no series was made under another UID"
        assert archived(one) == images

        remove_ledger(one)
        ledger.write_bytes(b"no ledger" * 10_000)
        found = repaired(one)
        assert found | {"entered": images, "lost": 0, "outbox_removed": 3} == found
        assert Path(str(found["damaged_ledger"])).exists()
        one.start()
        finished(one, 3)
        assert derived(orthanc) == after
        assert orthanc.sop_instance_uids() == instances
        found = repaired(one, "--verify")
        assert found | {"verified": images, "altered": 0, "entered": 0, "lost": 0} == found
