"""Commands that other packages add to `dicom-node` (entry-point group `dicom_node.commands`).

Names come from the entry points without an import; the module of a command's spec is imported when the command is
listed or called, that of its runner when it runs. A broken command is listed as such, and fails only when called.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Collection
from functools import cached_property
from importlib.metadata import EntryPoint
from typing import Any

import typer
import typer.main
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

from dicom_node import logs
from dicom_node.commands.output import Output
from dicom_node.compose.command_context import NodeCommandContext
from dicom_node.contracts import CommandRunner, CommandSpec
from dicom_node.errors import PluginError
from dicom_node.plugins import entries

GROUP = "dicom_node.commands"

log = logs.get("commands.contributed")


class Contributed:
    """What packages contribute; each spec is loaded once, for whether it imports torch shows the first time only."""

    def __init__(self) -> None:
        self._offers = entries.offers(GROUP)
        self._broken: dict[str, PluginError] = {}
        self._specs: dict[str, CommandSpec] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the commands, usable or not, without an import."""
        return tuple(self._offers)

    def spec(self, name: str) -> CommandSpec:
        """The spec of one of `names`.

        Raises:
            PluginError: it cannot be loaded, imports torch, is offered twice, or is no spec of that name.
        """
        if name in self._broken:
            raise self._broken[name]
        if name not in self._specs:
            try:
                self._specs[name] = _load(entries.only(self._offers[name]))
            except PluginError as error:
                self._broken[name] = error
                raise
        return self._specs[name]

    def unusable(self, own: Collection[str]) -> dict[str, str]:
        """Commands that cannot be used, with the reason.

        Args:
            own: names of the node's own commands, which nobody replaces.
        """
        found = {}
        for name, offered in self._offers.items():
            if name in own:
                found[name] = f"{' and '.join(map(entries.where, offered))}: the node has a command of that name"
                continue
            try:
                self.spec(name)
            except PluginError as error:
                found[name] = str(error)
        return found


class CommandGroup(TyperGroup):
    """The node's own commands, then those that packages contribute; a name that the node has itself stays its own."""

    @cached_property
    def contributed(self) -> Contributed:
        """Looked up when a command is not the node's own, or for the list of commands."""
        return Contributed()

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all commands, the node's own first."""
        own = super().list_commands(ctx)
        return own + [name for name in self.contributed.names if name not in own]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command by name, None when nobody has it."""
        own = super().get_command(ctx, cmd_name)
        if own is not None or cmd_name not in self.contributed.names:
            return own
        return _command(cmd_name, self.contributed)

    def unusable(self) -> dict[str, str]:
        """Contributed commands that cannot be used, with the reason."""
        return self.contributed.unusable(self.commands)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The help, after a warning for each contributed command that cannot be used."""
        for name, reason in self.unusable().items():
            log.warning("command_unusable", command=name, reason=reason)
        super().format_help(ctx, formatter)


def _load(entry: EntryPoint) -> CommandSpec:
    spec, where = entries.load(entry), entries.where(entry)
    if not isinstance(spec, CommandSpec):
        raise PluginError(f"{where} is a {type(spec).__name__}, not a CommandSpec")
    if spec.name != entry.name:
        raise PluginError(f"{where} calls itself {spec.name!r}, its entry point {entry.name!r}: they must agree")
    if spec.run.count(":") != 1:
        raise PluginError(f"{where}: run must read 'module:callable', got {spec.run!r}")
    return spec


def _command(name: str, contributed: Contributed) -> TyperCommand:
    """A command for the group; its arguments are left to `argparse`."""
    try:
        summary = contributed.spec(name).summary
    except PluginError as error:
        summary = f"broken: {error}"

    def call(ctx: typer.Context) -> None:
        _call(contributed.spec(name), ctx.args)

    one = typer.Typer(add_completion=False)
    one.command(name, cls=_Untouched, help=escape(summary), add_help_option=False)(call)
    command = typer.main.get_command(one)
    assert isinstance(command, TyperCommand)
    return command


class _Untouched(TyperCommand):
    """A command that gets its arguments as they were typed, `--help` and `--` too."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep them all."""
        ctx.args = list(args)
        return ctx.args  # type: ignore[no-any-return]


def _call(spec: CommandSpec, given: list[str]) -> None:
    parser = argparse.ArgumentParser(prog=f"dicom-node {spec.name}", description=spec.summary, allow_abbrev=False)
    parser.add_argument("--json", dest="as_json", action="store_true", help="Print one JSON document for machines.")
    try:
        spec.configure(parser)
    except Exception as error:
        raise PluginError(f"command {spec.name}: its arguments are broken: {type(error).__name__}: {error}") from error
    arguments = parser.parse_args(given)  # wrong ones end the program with status 2
    _runner(spec)(NodeCommandContext(), arguments, Output(arguments.as_json))


def _runner(spec: CommandSpec) -> CommandRunner:
    module_name, _, attribute = spec.run.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise PluginError(
            f"command {spec.name}: cannot import {module_name}: {type(error).__name__}: {error}"
        ) from error
    runner = getattr(module, attribute, None)
    if not callable(runner):
        raise PluginError(f"command {spec.name}: {module_name} has no callable {attribute!r}")
    run: CommandRunner = runner
    return run
