"""Discovery of correctors through entry points; a broken plugin is named and kept apart from the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from types import MappingProxyType

from dicom_node import logs
from dicom_node.contracts import API_VERSION, CorrectorSpec
from dicom_node.errors import PluginError, RequestError
from dicom_node.plugins import entries

GROUP = "dicom_node.correctors"

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

    def installed(self, name: str) -> CorrectorSpec:
        """Spec of a corrector that a user named.

        Raises:
            RequestError: it is not installed, or broken; says which are.
        """
        if name in self.specs:
            return self.specs[name]
        broken = next((f": it is broken: {b.reason}" for b in self.broken if b.name == name), "")
        raise RequestError(
            f"the corrector {name!r} is not installed{broken}; installed: {', '.join(sorted(self.specs)) or 'none'}"
        )


def discover() -> Catalogue:
    """Read the spec of every installed corrector (entry-point group `dicom_node.correctors`).

    Imports only the modules that hold specs. What a plugin raises there does not reach the caller.
    """
    specs: dict[str, CorrectorSpec] = {}
    broken = []
    for name, offered in entries.offers(GROUP).items():
        try:
            specs[name] = _load(entries.only(offered))
        except PluginError as error:
            broken.append(BrokenPlugin(name, str(error)))
            log.warning("plugin_broken", plugin=name, reason=str(error))
    return Catalogue(MappingProxyType(specs), tuple(broken))


def _load(entry: EntryPoint) -> CorrectorSpec:
    """The spec behind an entry point.

    Raises:
        PluginError: it cannot be loaded, or is no spec that this host can use.
    """
    spec, where = entries.load(entry), entries.where(entry)
    if not isinstance(spec, CorrectorSpec):
        raise PluginError(f"{where} is a {type(spec).__name__}, not a CorrectorSpec")
    if spec.api != API_VERSION:
        raise PluginError(f"{where} was written for plugin API {spec.api}; this node has {API_VERSION}")
    if spec.name != entry.name:
        raise PluginError(f"{where} calls itself {spec.name!r}, its entry point {entry.name!r}: they must agree")
    return spec
