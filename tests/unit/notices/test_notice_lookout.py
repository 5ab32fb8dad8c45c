"""What needs a person is found once, and told again only when it happens again."""

from __future__ import annotations

import shutil
from typing import Any, NamedTuple

import pytest
from notice_site import Site

from dicom_node.errors import CorrectorFailed, GuardViolation, LedgerError, PeerRefused, PeerUnreachable
from dicom_node.notices.lookout import KEPT_S, NEWS_S, Lookout

T = 1_000_000.0


def lookout(site: Site, *, after_s: float = 300.0, min_free_mb: float = 0.0) -> Lookout:
    return Lookout(
        database=site.database, book=site.book, data_dir=site.folder, min_free_mb=min_free_mb,
        unreachable_after_s=after_s,
    )  # fmt: skip


def look(site: Site, now: float) -> None:
    """As after a restart of the process, and once more as in its loop."""
    one = lookout(site)
    one.step(now)
    one.step(now)


def test_a_dead_job_is_told_once_with_what_to_do(site: Site) -> None:
    job = site.submit(T)
    site.fail_job(GuardViolation("role 'ct' holds values that are not finite"), T + 1)
    look(site, T + 2)
    look(site, T + 1000)
    (told,) = site.told()
    assert (told["event"], told["severity"], told["node"]) == ("job_dead", "error", "CORRECTOR")
    assert (told["job"], told["code"], told["series"], told["route"]) == (job, "GuardViolation", ["1.2"], "hip")
    assert told["reason"] == "role 'ct' holds values that are not finite"
    assert f"jobs retry {job}" in told["action"]


def test_a_job_that_is_tried_again_is_no_notice_until_it_dies(site: Site) -> None:
    site.submit(T)
    site.fail_job(CorrectorFailed("raised"), T)
    look(site, T)
    assert site.told() == []
    site.fail_job(CorrectorFailed("raised"), T + 100)
    look(site, T + 100)
    assert site.events() == ["job_dead"]


def test_a_replayed_job_that_dies_again_is_told_again(site: Site) -> None:
    job = site.submit(T)
    site.fail_job(GuardViolation("x"), T)
    look(site, T)
    with site.database.begin() as tx:
        site.ledger.retry(tx, job, T + 10)
    look(site, T + 11)
    site.fail_job(GuardViolation("x"), T + 20)
    look(site, T + 21)
    assert site.events() == ["job_dead", "job_dead"]


def test_a_dead_delivery_is_told_and_the_job_that_dies_of_it_is_not(site: Site) -> None:
    job = site.derive(T)
    for now in (T, T + 10):
        site.fail_delivery(PeerRefused("0x0110 for 1 of 1"), now)
    look(site, T + 11)
    (told,) = site.told()
    assert (told["event"], told["peer"], told["job"], told["code"]) == ("delivery_dead", "pacs", job, "PeerRefused")


def test_an_unreachable_peer_is_told_after_a_while_and_again_when_it_is_back(site: Site) -> None:
    site.derive(T)
    site.derive(T)
    site.fail_delivery(PeerUnreachable("refused"), T)
    look(site, T + 299)
    assert site.told() == []
    site.fail_delivery(PeerUnreachable("refused"), T + 299)
    look(site, T + 300)
    look(site, T + 5000)
    (away,) = site.told()
    assert (away["event"], away["peer"], away["count"]) == ("peer_unreachable", "pacs", 2)
    site.deliver(T + 6000)
    look(site, T + 6001)
    look(site, T + 6002)
    assert site.events() == ["peer_unreachable", "peer_back"]
    site.fail_delivery(PeerUnreachable("refused"), T + 7000)
    look(site, T + 7300)
    assert site.events() == ["peer_unreachable", "peer_back", "peer_unreachable"]


def test_a_peer_that_nothing_waits_for_any_more_is_no_longer_missed(site: Site) -> None:
    job = site.derive(T)
    site.fail_delivery(PeerUnreachable("refused"), T)
    look(site, T + 400)
    with site.database.begin() as tx:
        site.ledger.cancel(tx, job, T + 500)
    look(site, T + 501)
    assert site.events() == ["peer_unreachable", "peer_back"]
    site.derive(T + 9000)
    site.fail_delivery(PeerUnreachable("refused"), T + 9000)
    look(site, T + 9001)
    assert len(site.told()) == 2, "away since the first failure of this delivery, not since the cancelled one"


def test_what_is_set_aside_is_told_in_groups(site: Site) -> None:
    one = lookout(site)
    site.set_aside(1, T)
    one.step(T)
    site.set_aside(40, T + 1)
    one.step(T + 2)
    assert [told["count"] for told in site.told()] == [1]
    one.step(T + 400)
    assert [told["count"] for told in site.told()] == [1, 40]
    one.step(T + 800)
    assert site.events() == ["quarantined", "quarantined"]


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_a_full_disk_is_told_and_that_it_is_over(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 0.0
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, int(free)))
    for now, free in enumerate((2000e6, 990e6, 980e6, 1010e6, 1100e6, 900e6)):  # noqa: B007  read by disk_usage
        lookout(site, min_free_mb=1000).step(T + now)
    assert site.events() == ["disk_low", "disk_ok", "disk_low"]
    assert "990 MB are free" in site.told()[0]["reason"]


def test_a_ledger_that_refuses_to_write_loses_no_notice(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    one = lookout(site)
    site.submit(T)
    site.fail_job(GuardViolation("x"), T)

    def locked(*_: Any) -> Any:
        raise LedgerError("the database refused: database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(type(site.database), "begin", locked)
        with pytest.raises(LedgerError):
            one.step(T + 1)
    one.step(T + 2)
    assert site.events() == ["job_dead"]


def test_what_died_long_ago_is_no_news_and_what_was_sent_long_ago_is_forgotten(site: Site) -> None:
    site.submit(T)
    site.fail_job(GuardViolation("x"), T)
    look(site, T + NEWS_S + 1)
    assert site.told() == []
    site.submit(T + NEWS_S)
    site.fail_job(GuardViolation("y"), T + NEWS_S)
    look(site, T + NEWS_S + 1)
    (document,) = site.told()
    with site.database.begin() as tx:
        (unsent,) = site.book.unsent(tx, 10)
        site.book.taken(tx, unsent.document, T + NEWS_S + 2)
    later = T + NEWS_S + KEPT_S + 10
    site.set_aside(1, later)
    look(site, later)
    assert site.events() == ["quarantined"], document
