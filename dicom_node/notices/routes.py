"""Rules that cannot work here, found at start: a corrector that is missing or broken, weights that are refused."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from dicom_node.config.rules import Rule
from dicom_node.errors import NodeError
from dicom_node.notices import wording
from dicom_node.notices.book import NoticeBook
from dicom_node.notices.model import Event, Notice
from dicom_node.plugins.catalogue import Catalogue
from dicom_node.plugins.parameters import resolve
from dicom_node.plugins.weights import verify


def unusable(own: Sequence[Rule], shipped: Sequence[Rule], catalogue: Catalogue) -> dict[str, Notice]:
    """What is wrong with the rules, by key.

    Args:
        own: the site's rules, which ask for correctors by name.
        shipped: the default rules; that one of their correctors is not installed is no fault.
        catalogue: what is installed.
    """
    found = {f"{Event.PLUGIN_BROKEN}/{broken.name}": wording.plugin_broken(broken.name) for broken in catalogue.broken}
    for rule in (*own, *shipped):
        problem = _problem(rule, catalogue) if rule.enabled else None
        if problem is not None and (rule in own or rule.corrector in catalogue.specs):
            reason, code = problem
            found[f"{Event.ROUTE_UNUSABLE}/{rule.name}"] = wording.route_unusable(
                rule.name, rule.corrector, reason, code
            )
    return found


def note(tx: Connection, book: NoticeBook, found: dict[str, Notice], now: float) -> None:
    """Raise what is new, and end what has been mended since the last start.

    Args:
        tx: write transaction.
        book: where notices go.
        found: of `unusable`.
        now: UTC [s].
    """
    for key in book.keys(tx, Event.ROUTE_UNUSABLE) | book.keys(tx, Event.PLUGIN_BROKEN):
        if key not in found:
            book.end(tx, key)
    for key, notice in found.items():
        book.raise_once(tx, key, notice, now)


def _problem(rule: Rule, catalogue: Catalogue) -> tuple[str, str] | None:
    spec = catalogue.specs.get(rule.corrector)
    if spec is None:
        return f"the corrector {rule.corrector} is not installed, or broken", "PluginError"
    try:
        method, _ = resolve(spec, rule.method, rule.parameters)
        if method in spec.weights:
            verify(spec.weights[method])
    except NodeError as error:
        return str(error), error.code
    return None
