"""Logs carry facts, never patient data."""

import io
import json
import logging
import subprocess
import sys

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


def test_an_exception_as_a_value_is_its_place(stream: io.StringIO) -> None:
    try:
        raise ValueError("CANARY^NAME")
    except ValueError as error:
        logs.get("x").error("event", error=error)
    assert str(lines(stream)[0]["error"]).startswith("ValueError at test_logs.py:")


STRAYS = """
import logging, os, sys, threading, warnings
from dicom_node import logs

logs.configure(process="test", as_json=True)
logs.catch_strays()
secret = "CANARY^NAME"

class Dying:
    def __del__(self):
        raise ValueError(secret)

def fail():
    raise KeyError(secret)

warnings.warn(secret)
logging.getLogger("library").error("about %s", secret)
logging.getLogger("library").info("about %s", secret)
thread = threading.Thread(target=fail, name=secret)
thread.start()
thread.join()
Dying()
try:
    fail()
except KeyError as error:
    raise RuntimeError(secret) from error
"""


def test_what_python_prints_by_itself_becomes_lines_without_words() -> None:
    result = subprocess.run([sys.executable, "-c", STRAYS], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "CANARY" not in result.stdout + result.stderr
    told = [json.loads(line) for line in (result.stdout + result.stderr).splitlines()]
    assert [line["event"] for line in told] == [
        "library_warning",
        "library_message",
        "thread_failed",
        "unraisable",
        "uncaught",
    ]
    assert told[-1]["error"].startswith("RuntimeError at <string>:")


FOREIGN = """
import os, sys
from dicom_node import logs

logs.configure(process="test", stream=logs.withhold_output(), as_json=True)
print("CANARY^NAME"); sys.stderr.write("CANARY^NAME"); sys.__stderr__.write("CANARY^NAME")
os.write(1, b"CANARY^NAME"); os.write(2, b"CANARY^NAME"); os.system("echo CANARY^NAME; echo CANARY^NAME >&2")
logs.get("x").warning("said")
"""


def test_foreign_code_prints_into_nothing_and_log_lines_still_come() -> None:
    result = subprocess.run([sys.executable, "-c", FOREIGN], capture_output=True, text=True, check=True)
    assert result.stdout == ""
    assert [json.loads(line)["event"] for line in result.stderr.splitlines()] == ["said"]


def test_no_process_dumps_its_memory() -> None:
    script = "import resource; from dicom_node import logs; logs.forbid_core_dumps(); print(*resource.getrlimit(4))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert max(map(int, result.stdout.split())) <= 1
