"""Discovery of correctors through entry points; a broken plugin is named and kept apart from the others."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType, ModuleType

from dicom_node import logs
from dicom_node.contracts import API_VERSION, CorrectorSpec
from dicom_node.errors import PluginError

GROUP = "dicom_node.correctors"
_HEAVY = "torch"

log = logs.get("plugins.catalogue")


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin that cannot be used.

    Attributes:
        name: name of its entry point.
        reason: what is wrong with it, and in which package.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class Catalogue:
    """What is installed.

    Attributes:
        specs: usable correctors by name.
        broken: the others, each with its reason.
    """

    specs: Mapping[str, CorrectorSpec]
    broken: tuple[BrokenPlugin, ...] = ()


def discover() -> Catalogue:
    """Read the spec of every installed corrector (entry-point group `dicom_node.correctors`).

    Imports only the modules that hold specs. What a plugin raises there does not reach the caller.
    """
    offers: dict[str, list[EntryPoint]] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda e: (e.name, e.value)):
        offers.setdefault(entry.name, []).append(entry)
    specs: dict[str, CorrectorSpec] = {}
    broken = []
    for name, entries in offers.items():
        try:
            specs[name] = _load(_only(entries))
        except PluginError as error:
            broken.append(BrokenPlugin(name, str(error)))
            log.warning("plugin_broken", plugin=name, reason=str(error))
    return Catalogue(MappingProxyType(specs), tuple(broken))


def _only(entries: list[EntryPoint]) -> EntryPoint:
    if len({e.value for e in entries}) > 1:
        offered = " and ".join(f"{e.value} ({_package(e)})" for e in entries)
        raise PluginError(f"offered twice, by {offered}: uninstall one of the packages")
    return entries[0]


def _load(entry: EntryPoint) -> CorrectorSpec:
    """The spec behind an entry point.

    Raises:
        PluginError: it cannot be loaded, or is no spec that this host can use.
    """
    where = f"{entry.value} ({_package(entry)})"
    heavy_before = _HEAVY in sys.modules
    try:
        spec = entry.load()
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # a plugin may raise anything, SystemExit too
        raise PluginError(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error
    # Once torch is loaded by someone, only what the module itself holds can still tell.
    if (_HEAVY in sys.modules and not heavy_before) or _holds_torch(sys.modules[entry.module]):
        raise PluginError(f"{where} imports torch at discovery: import it only in the module of the factory")
    if not isinstance(spec, CorrectorSpec):
        raise PluginError(f"{where} is a {type(spec).__name__}, not a CorrectorSpec")
    if spec.api != API_VERSION:
        raise PluginError(f"{where} was written for plugin API {spec.api}; this node has {API_VERSION}")
    if spec.name != entry.name:
        raise PluginError(f"{where} calls itself {spec.name!r}, its entry point {entry.name!r}: they must agree")
    return spec


def _holds_torch(module: ModuleType) -> bool:
    for value in vars(module).values():
        origin = value.__name__ if isinstance(value, ModuleType) else getattr(type(value), "__module__", "")
        if str(origin).split(".")[0] == _HEAVY:
            return True
    return False


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "unknown package"
