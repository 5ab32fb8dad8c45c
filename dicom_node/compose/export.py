"""A de-identified export of a node's archive, running or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from dicom_node.archive.index import ArchiveIndex
from dicom_node.compose.ledger import open_database
from dicom_node.compose.routing import rules_of
from dicom_node.config import Config
from dicom_node.contracts import CorrectorSpec, InputSet, SeriesView
from dicom_node.errors import RequestError
from dicom_node.keeping.export import Exported, Exporter, ExportRequest
from dicom_node.keeping.export_key import FILE_NAME, load_pseudonyms
from dicom_node.keeping.export_routes import RuleNames
from dicom_node.plugins.catalogue import Catalogue
from dicom_node.routing.defaults import default_rules
from dicom_node.routing.router import route, route_for


def export_archive(
    config: Config,
    out: Path,
    studies: Sequence[str],
    corrector: CorrectorSpec | None,
    catalogue: Catalogue,
    key: Path | None,
    advance: Callable[[int, int], None],
) -> Exported:
    """Export studies into a training folder.

    Args:
        config: of the node.
        out: the folder.
        studies: Study Instance UIDs; all when empty.
        corrector: only what this one can use, in the roles that the headers give; everything without.
        catalogue: installed correctors.
        key: of the pseudonyms; the node's own without.
        advance: told patients done and in all.

    Raises:
        RequestError: no node has run with this configuration, a study is not there, or folder or key will not do.
        StorageFull, StorageFailed, LedgerError: disk or database refuse.
    """
    data_dir = config.node.data_dir.resolve()
    if not data_dir.is_dir() or (config.node.database == "sqlite" and not (data_dir / "node.sqlite").exists()):
        raise RequestError(f"there is no ledger in {data_dir} yet: has the node run with this configuration?")
    if _inside(out, data_dir):
        raise RequestError(f"{out} lies in the node's own folder {data_dir}: choose another --out")
    pseudonyms = load_pseudonyms(key or data_dir / FILE_NAME, out)
    rules = rules_of(config)

    def routed(series: Sequence[SeriesView]) -> Sequence[InputSet]:
        found = route(series, rules, catalogue.specs) if corrector is None else route_for(series, corrector, rules)
        return found.input_sets

    request = ExportRequest(tuple(studies), corrector is not None, _least_free_mb(config, out, data_dir))
    with closing(open_database(config)) as database:
        names = RuleNames(config.routes, default_rules())
        return Exporter(database, ArchiveIndex(data_dir), routed, names, pseudonyms).run(out, request, advance)


def _least_free_mb(config: Config, out: Path, data_dir: Path) -> float:
    """On the node's own disk an export must leave what the node needs to receive."""
    there = out.resolve()
    while not there.exists():
        there = there.parent
    return config.node.min_free_mb if there.stat().st_dev == data_dir.stat().st_dev else 0.0


def _inside(out: Path, data_dir: Path) -> bool:
    return out.resolve().is_relative_to(data_dir)
