"""Logs carry facts, never patient data."""

import io
import json
import logging

import pytest
import structlog

from dicom_node import logs


@pytest.fixture
def stream():
    before = structlog.get_config()
    out = io.StringIO()
    logs.configure(stream=out, process="test")
    yield out
    structlog.contextvars.clear_contextvars()
    structlog.configure(**before)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_its_context(stream: io.StringIO) -> None:
    with logs.bound(job="j1"):
        logs.get("net.receiver").info("instance_stored", status="0x0000")
    logs.get("net.receiver").info("idle")
    first, second = lines(stream)
    assert (first["event"], first["job"], first["status"], first["component"]) == (
        "instance_stored",
        "j1",
        "0x0000",
        "net.receiver",
    )
    assert "job" not in second


@pytest.mark.parametrize("key", ["patient_name", "PatientID", "accession_number", "series_description", "birth_date"])
def test_keys_that_could_hold_patient_data_are_left_out(stream: io.StringIO, key: str) -> None:
    logs.get("x").info("event", **{key: "CANARY^NAME"})
    assert "CANARY" not in stream.getvalue()


def test_whole_objects_and_long_texts_are_cut(stream: io.StringIO) -> None:
    logs.get("x").info("event", thing=["y" * 5000], text="z" * 5000)
    assert len(stream.getvalue()) < 1500


def test_libraries_that_print_header_values_are_silent(capsys: pytest.CaptureFixture[str], stream: io.StringIO) -> None:
    logging.getLogger("pynetdicom.events").error("CANARY^NAME")
    logging.getLogger("pydicom").critical("CANARY^NAME")
    captured = capsys.readouterr()
    assert "CANARY" not in captured.err + captured.out + stream.getvalue()
