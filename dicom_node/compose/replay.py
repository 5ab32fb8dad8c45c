"""Where derived series and their sources are found again: in folders, or in the node's outbox, ledger and archive."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace

from dicom_node.archive.index import ArchiveIndex
from dicom_node.compose.ledger import make_ledger, open_database
from dicom_node.config import Config
from dicom_node.config.rules import Rule
from dicom_node.contracts import CorrectorSpec, FileRef, InstanceHeader, RoleInstance, SeriesView
from dicom_node.dicom.derived import Recipe
from dicom_node.dicom.geometry import reference_views
from dicom_node.dicom.headers import read_header
from dicom_node.dicom.scan import ScanResult
from dicom_node.dicom.tags import LOCALIZER
from dicom_node.errors import InputError, RequestError, UnreadableFile, UnusableSeries
from dicom_node.planning import input_digest
from dicom_node.routing.router import route_for

Roles = Mapping[str, Sequence[RoleInstance]]
_TOLD = 10
"""So many UIDs are named in a message."""


class FolderSources:
    """Sources in files that somebody named."""

    def __init__(self, found: ScanResult, rules: Sequence[Rule], node: NodeSources | None = None) -> None:
        """Hold what was found.

        Args:
            found: of the files.
            rules: the site's or the default ones; roles and captures are read with them.
            node: tells which file was altered, where there is a node that has received them.
        """
        self._found = found
        self._rules = rules
        self._node = node

    def roles(self, recipe: Recipe, named: frozenset[str], spec: CorrectorSpec) -> Roles:
        """The input set that a derived set was made from.

        Args:
            recipe: of the derived set.
            named: SOP Instance UIDs of the sources that it names.
            spec: its corrector.

        Raises:
            InputError: sources are missing or altered; the message names them as far as that can be told.
        """
        _refuse_missing(named, {i.sop_instance_uid for s in self._found.series for i in s.instances})
        if roles := matching_roles(recipe.input_digest, named, self._found.series, spec, self._rules):
            return roles
        received = self._node.digests(named) if self._node is not None else {}
        altered = [
            i.sop_instance_uid
            for s in self._found.series
            for i in s.instances
            if received.get(i.sop_instance_uid, i.sha256) != i.sha256
        ]
        raise _mismatch(named, altered)


class NodeSources:
    """Sources in the archive of a node, which may be running."""

    def __init__(self, config: Config, rules: Sequence[Rule]) -> None:
        """Hold what is needed to look.

        Args:
            config: of the node.
            rules: the site's, then the default ones.

        Raises:
            RequestError: no node has run with this configuration yet.
        """
        if not has_ledger(config):
            raise RequestError(
                f"there is no ledger in {config.node.data_dir} yet: has the node run with this configuration? "
                "Name the source images with --sources"
            )
        self._config = config
        self._rules = rules
        self._data_dir = config.node.data_dir.resolve()
        self._index = ArchiveIndex(self._data_dir)
        self._ledger = make_ledger(config)

    def roles(self, recipe: Recipe, named: frozenset[str], spec: CorrectorSpec) -> Roles:
        """As `FolderSources.roles`: from the job where the ledger still has it, else from the headers in the index."""
        with closing(open_database(self._config)) as database, database.read() as tx:
            jobs = self._ledger.of_inputs(tx, recipe.corrector, recipe.input_digest)
            inputs = jobs[0].inputs if jobs else ()
            headers = self._index.instances(tx, {i.sop_instance_uid for i in inputs} or named)
            patients = sorted({header.patient_key for header in headers})
            series = [] if jobs else [s for key in patients for s in self._index.series_of_patient(tx, key)]
        known = {header.sop_instance_uid: header for header in headers}
        _refuse_missing(frozenset(i.sop_instance_uid for i in inputs) or named, known)
        roles: Roles | None
        if jobs:
            received: dict[str, list[RoleInstance]] = {}
            for one in inputs:
                header = replace(known[one.sop_instance_uid], sha256=one.sha256, file=one.file)
                received.setdefault(one.role, []).append(RoleInstance(header, one.captures))
            roles = received
        else:
            roles = matching_roles(recipe.input_digest, named, series, spec, self._rules)
        if roles is None:
            raise _mismatch(named, ())
        _refuse_altered(roles)
        return roles

    def digests(self, sop_instance_uids: frozenset[str]) -> dict[str, str]:
        """SHA-256 of these instances as they were received, as far as they are in the archive."""
        with closing(open_database(self._config)) as database, database.read() as tx:
            return self._index.known(tx, sop_instance_uids)

    def derived(self, series_instance_uid: str) -> list[InstanceHeader]:
        """Instances of a derived series, from the outbox or, where it was sent back to the node, the archive.

        Raises:
            InputError: the node does not have it, or not any more.
            UnreadableFile: a file of it is damaged.
        """
        with closing(open_database(self._config)) as database, database.read() as tx:
            jobs = self._ledger.of_output(tx, series_instance_uid)
            filed = self._index.instances_of_series(tx, series_instance_uid)
        for job in jobs:
            files = [
                self._data_dir / "outbox" / job.id / instance.file_name
                for series in job.outputs
                if series.series_instance_uid == series_instance_uid
                for instance in series.instances
            ]
            if all(file.is_file() for file in files):
                return [read_header(FileRef(file)) for file in files]
        if filed:
            return [read_header(header.file) for header in filed]
        gone = "it has left the outbox" if jobs else "neither its outbox nor its archive has it"
        raise InputError(
            f"series {series_instance_uid}: this node cannot give it, {gone}: name a folder with its files"
        )


def has_ledger(config: Config) -> bool:
    """Whether a node has run with this configuration; asking must not make one."""
    return config.node.database != "sqlite" or (config.node.data_dir / "node.sqlite").exists()


def matching_roles(
    digest: str, named: frozenset[str], series: Sequence[SeriesView], spec: CorrectorSpec, rules: Sequence[Rule]
) -> Roles | None:
    """The input set of this digest among some series, None when there is none.

    What a derived set names is all that its pixels came from, but the digest is over all instances of the job: over
    localizers too, and over whole series where only a few derived images are at hand. So larger and larger selections
    are tried, with each rule of the corrector, as any of them may have made the job.

    Args:
        digest: `planning.input_digest` of the job.
        named: SOP Instance UIDs that must be in the set.
        series: where to look.
        spec: the corrector.
        rules: the site's and the default ones.
    """
    own = [[rule] for rule in rules if rule.corrector == spec.name]
    tried: set[frozenset[str]] = set()
    for some in _selections(named, series):
        uids = frozenset(i.sop_instance_uid for s in some for i in s.instances)
        if uids in tried:
            continue
        tried.add(uids)
        for candidates in [*own, []]:
            for found in route_for(some, spec, candidates).input_sets:
                if input_digest(found.roles) == digest:
                    return found.roles
    return None


def _selections(named: frozenset[str], series: Sequence[SeriesView]) -> Iterator[list[SeriesView]]:
    """Named instances; whole series of them; named ones and what is no part of a volume; everything."""
    concerned = [s for s in series if any(i.sop_instance_uid in named for i in s.instances)]
    yield _only(concerned, lambda s: [i for i in s.instances if i.sop_instance_uid in named])
    yield concerned
    yield _only(concerned, lambda s: [i for i in s.instances if i.sop_instance_uid in named or i in _beside(s)])
    yield list(series)


def _only(series: Sequence[SeriesView], kept: Callable[[SeriesView], list[InstanceHeader]]) -> list[SeriesView]:
    return [replace(one, instances=tuple(instances)) for one in series if (instances := kept(one))]


def _beside(series: SeriesView) -> list[InstanceHeader]:
    """Localizers and reference views, which the reader leaves out."""
    kept = [i for i in series.instances if not _is_localizer(i)]
    try:
        across = reference_views(kept) if kept else frozenset()
    except UnusableSeries:
        across = frozenset()
    return [i for i in series.instances if _is_localizer(i)] + [kept[index] for index in sorted(across)]


def _is_localizer(header: InstanceHeader) -> bool:
    value = header.get("ImageType")
    return LOCALIZER in (value if isinstance(value, tuple) else (value,))


def _refuse_missing(named: frozenset[str], known: Sequence[str] | Mapping[str, object] | set[str]) -> None:
    if missing := sorted(uid for uid in named if uid not in known):
        raise InputError(f"{len(missing)} of {len(named)} source instances are missing: {_listed(missing)}")


def _refuse_altered(roles: Roles) -> None:
    """Read every file of the archive again.

    Raises:
        InputError: some are gone, damaged or hold other bytes than were received.
    """
    altered = []
    for item in (item for items in roles.values() for item in items):
        try:
            found = read_header(item.header.file)
        except UnreadableFile:
            altered.append(item.header.sop_instance_uid)
            continue
        if (found.sop_instance_uid, found.sha256) != (item.header.sop_instance_uid, item.header.sha256):
            altered.append(item.header.sop_instance_uid)
    if altered:
        raise InputError(
            f"{len(altered)} source instances in the archive are gone, damaged or no longer what was received: "
            f"{_listed(sorted(altered))}"
        )


def _mismatch(named: frozenset[str], altered: Sequence[str]) -> InputError:
    if altered:
        return InputError(
            f"{len(altered)} source instances are not byte for byte what the node received: {_listed(sorted(altered))}"
        )
    return InputError(
        f"all {len(named)} source instances that are named are there, but the digest over the input set is not the one "
        "recorded: an instance was altered or stored in another encoding since, one that no derived image names (a "
        "localizer) is missing, or the rules that gave the roles were others (name them with --config)"
    )


def _listed(uids: Sequence[str]) -> str:
    more = f" and {len(uids) - _TOLD} more" if len(uids) > _TOLD else ""
    return ", ".join(uids[:_TOLD]) + more
