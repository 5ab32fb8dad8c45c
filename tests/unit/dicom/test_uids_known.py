"""UIDs must never change between versions: the PACS holds them."""

from __future__ import annotations

from dicom_node.dicom.uids import UidFactory


def factory(**changes):
    facts = {
        "input_digest": "0" * 64,
        "corrector": "hipct",
        "version": "0.1.0",
        "method": "classical",
        "weights_sha256": "",
        "parameters": {"metal_threshold_hu": 2500.0},
    }
    return UidFactory(**{**facts, **changes})


def test_known_answers():
    uids = factory()
    assert uids.series("ct") == "2.25.152134454775121083794668727436873106560"
    assert uids.instance("ct", 0) == "2.25.169218696823039029024577485198556444349"
    assert uids.device() == "2.25.146400617572667332510798108443779072738"


def test_each_fact_changes_the_series_uid():
    changes = [
        {},
        {"input_digest": "1" * 64},
        {"corrector": "madn"},
        {"version": "0.1.1"},
        {"method": "li"},
        {"weights_sha256": "f" * 64},
        {"parameters": {"metal_threshold_hu": 2501.0}},
        {"parameters": {}},
    ]
    assert len({factory(**c).series("ct") for c in changes}) == len(changes)
