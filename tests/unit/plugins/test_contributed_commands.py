"""Commands of other packages: listed, run with their own arguments, and a broken one harms no other."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dicom_node import cli
from dicom_node.commands import contributed

SPEC = """
from dicom_node.contracts import CommandSpec

def configure(parser):
    parser.add_argument("inputs", nargs="*")
    parser.add_argument("--data", action="append", default=[])
    parser.add_argument("--seed", type=int, default=0)

COMMAND = CommandSpec(name={name!r}, summary="Grow [a] network, 100%.", configure=configure, run={run!r})
"""
RUNNER = """
import signal
from dicom_node.errors import PluginError, RequestError

def run(context, arguments, output):
    if arguments.seed == 1:
        raise RequestError("seed 1 is unlucky")
    if arguments.seed == 2:
        raise PluginError("the network did not grow")
    if arguments.seed == 3:
        raise ValueError("CANARY^NAME")
    if arguments.seed == 4:
        # Whoever was started in the background of a shell inherits that SIGINT is ignored.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            output.line("checkpoint written")
        finally:
            signal.signal(signal.SIGINT, before)
        return
    found = vars(arguments)
    output.document({**found, "correctors": sorted(context.spec("hipct").methods)})
    output.line(f"grown from {arguments.inputs}")
    with output.progress() as advance:
        advance("growing", 1, 2)
"""

Install = Callable[..., None]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """`install(name, spec code or None)`: a package that contributes a command; forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)

    def make(name: str, code: str | None = None, *, module: str | None = None, run: str = "plug_runner:run") -> None:
        module = module or f"plug_{name}"
        (tmp_path / "plug_runner.py").write_text(RUNNER)
        (tmp_path / f"{module}.py").write_text(SPEC.format(name=name, run=run) if code is None else code)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{contributed.GROUP}]\n{name} = {module}:COMMAND\n")
        importlib.invalidate_caches()

    yield make
    for module in set(sys.modules) - before:
        if module.startswith(("plug_", "torch")):
            del sys.modules[module]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("grow", "--json")`: exit status, stdout, stderr."""
    for name in ("configure", "catch_strays", "forbid_core_dumps"):  # they change the process
        monkeypatch.setattr(cli.logs, name, lambda **_: None)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dicom-node", *arguments])
        status = 0
        try:
            cli.main()
        except SystemExit as end:
            status = int(end.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def test_a_command_is_listed_and_explains_itself(install: Install, run: Run) -> None:
    install("grow")
    status, out, _ = run("--help")
    assert status == 0
    assert "grow" in out and "Grow [a] network, 100%." in out
    assert out.index("weights") < out.index("grow"), "the node's own commands come first"
    status, out, _ = run("grow", "--help")
    assert status == 0
    assert "usage: dicom-node grow" in out and "--json" in out and "--seed" in out and "Grow [a] network, 100%." in out
    assert "plug_runner" not in sys.modules


def test_it_gets_its_arguments_as_they_were_typed_and_the_nodes_context(install: Install, run: Run) -> None:
    install("grow")
    status, out, _ = run("grow", "--data", "x", "--data=y", "--json", "--", "a", "--seed")
    assert status == 0
    document = json.loads(out)
    assert (document["inputs"], document["data"], document["seed"]) == (["a", "--seed"], ["x", "y"], 0)
    assert document["as_json"] is True
    assert "classical" in document["correctors"]
    assert run("grow", "b")[1] == "grown from ['b']\n"


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (("--seed", "x"), 2, "UsageError"),
        (("--nonsense",), 2, "UsageError"),
        (("--jso",), 2, None),
        (("--seed", "1"), 2, "RequestError"),
        (("--seed", "2"), 1, "PluginError"),
        (("--seed", "3"), 1, "ValueError"),
    ],
)
def test_what_goes_wrong_is_a_status_and_a_document(
    install: Install, run: Run, arguments: tuple[str, ...], status: int, code: str | None
) -> None:
    install("grow")
    found, out, err = run("grow", *arguments)
    assert (found, out) == (status, "")
    assert err and "CANARY" not in err and "Traceback" not in err
    if code is not None:
        found, out, _ = run("grow", *arguments, "--json")
        assert (found, json.loads(out)["code"]) == (status, code)


def test_an_interrupt_reaches_the_runner(install: Install, run: Run) -> None:
    install("grow")
    assert run("grow", "--seed", "4") == (0, "checkpoint written\n", "")


BROKEN = [
    ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
    ("import sys; sys.exit(3)", "SystemExit: 3"),
    ("import a_module_that_is_not_there", "ModuleNotFoundError"),
    ("COMMAND = 'x'", "is a str, not a CommandSpec"),
    (SPEC.format(name="other", run="a:b"), "calls itself 'other'"),
    (SPEC.format(name="bad", run="nowhere"), "run must read 'module:callable'"),
    (SPEC.format(name="bad", run="plug_absent:run"), "cannot import plug_absent"),
    (SPEC.format(name="bad", run="plug_runner:walk"), "plug_runner has no callable 'walk'"),
    (SPEC.format(name="bad", run="a:b").replace('"--seed"', '"--json"'), "arguments are broken: ArgumentError"),
]


@pytest.mark.parametrize(("code", "reason"), BROKEN)
def test_a_broken_command_fails_by_name_and_the_others_go_on(
    install: Install, run: Run, code: str, reason: str
) -> None:
    install("bad", code)
    install("grow")
    status, out, err = run("bad")
    assert (status, out) == (1, "")
    assert reason in err and ("plug_bad" in err or "command bad" in err)
    assert run("grow", "b")[0] == 0
    status, out, _ = run("--help")
    assert status == 0
    assert "grow" in out and "bad" in out and "correct" in out


def test_check_names_what_cannot_be_used_as_a_warning(install: Install, run: Run, tmp_path: Path) -> None:
    install("bad", "raise RuntimeError('no licence')")
    install("grow")
    config = tmp_path / "node.yaml"
    config.write_text(f"node: {{data_dir: {tmp_path / 'var'}, min_free_mb: 0}}\n")
    status, out, _ = run("check", "--config", str(config), "--json")
    assert status == 0
    findings = {f["what"]: f for f in json.loads(out)["findings"]}
    assert findings["command bad"]["warning"] is True
    assert "no licence" in findings["command bad"]["detail"]
    assert "command grow" not in findings


def test_torch_is_refused_at_discovery_even_through_another_module(install: Install, run: Run, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("")  # a stand-in: only the name counts
    real = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "torch"}
    try:
        (tmp_path / "plug_between.py").write_text("import torch")
        install("heavy", "import plug_between\n" + SPEC.format(name="heavy", run="plug_runner:run"))
        status, _, err = run("heavy")
        assert status == 1
        assert "imports torch at discovery" in err
    finally:
        sys.modules.pop("torch", None)
        sys.modules.update(real)


def test_a_name_that_the_node_has_stays_its_own_and_one_offered_twice_is_refused(install: Install, run: Run) -> None:
    install("route")
    install("same", module="plug_first")
    install("same", module="plug_second")
    assert "Dry run of the routing rules" in run("route", "--help")[1]
    assert "plug_first" in run("same")[2]
    status, out, err = run("--help")
    assert status == 0
    assert out.count("│ route ") == 1
    told = out + err
    assert "the node has a command of that name" in told and "plug_route" in told
    assert "offered twice" in told


def test_a_command_of_the_node_does_not_load_those_of_others(install: Install, run: Run) -> None:
    install("grow")
    assert run("weights", "list", "--json")[0] == 0
    assert "plug_grow" not in sys.modules


def test_the_command_line_starts_without_torch_and_without_a_nifti_reader() -> None:
    code = (
        "import sys; sys.argv = ['dicom-node', '--help']\n"
        "from dicom_node.commands.application import app\n"
        "try: app()\n"
        "except SystemExit: print([m for m in ('torch', 'nibabel') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
