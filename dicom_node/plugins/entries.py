"""Entry points of installed packages, loaded so that a broken one is named and harms no other."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

from dicom_node.errors import PluginError

_HEAVY = "torch"


def offers(group: str) -> dict[str, list[EntryPoint]]:
    """Entry points of a group by name, sorted; nothing is imported."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in sorted(entry_points(group=group), key=lambda e: (e.name, e.value)):
        found.setdefault(entry.name, []).append(entry)
    return found


def only(entries: Sequence[EntryPoint]) -> EntryPoint:
    """The one entry point of a name.

    Raises:
        PluginError: several packages offer different things under it.
    """
    if len({e.value for e in entries}) > 1:
        offered = " and ".join(f"{e.value} ({_package(e)})" for e in entries)
        raise PluginError(f"offered twice, by {offered}: uninstall one of the packages")
    return entries[0]


def where(entry: EntryPoint) -> str:
    """What it points to and the package that it came with, for messages."""
    return f"{entry.value} ({_package(entry)})"


def load(entry: EntryPoint) -> object:
    """Import the module of an entry point and take the object out of it.

    Raises:
        PluginError: it cannot be loaded, or imports torch.
    """
    heavy_before = _HEAVY in sys.modules
    try:
        found: object = entry.load()
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # a plugin may raise anything, SystemExit too
        raise PluginError(f"{where(entry)} cannot be loaded: {type(error).__name__}: {error}") from error
    # Once torch is loaded by someone, only what the module itself holds can still tell.
    if (_HEAVY in sys.modules and not heavy_before) or _holds_torch(sys.modules[entry.module]):
        raise PluginError(
            f"{where(entry)} imports torch at discovery: do that only in the module named by 'module:callable'"
        )
    return found


def _holds_torch(module: ModuleType) -> bool:
    for value in vars(module).values():
        origin = value.__name__ if isinstance(value, ModuleType) else getattr(type(value), "__module__", "")
        if str(origin).split(".")[0] == _HEAVY:
            return True
    return False


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "unknown package"
