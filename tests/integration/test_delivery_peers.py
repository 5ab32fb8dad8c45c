"""Delivery to real and scripted peers: complete and verified, or in a state that says what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path

import peers
import pytest
from consignments import Dispatch, dispatch, peer
from peers import free_port, wait_until
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless

from dicom_node.config import PeerSection
from dicom_node.errors import LedgerError, PeerUnreachable
from dicom_node.jobs.states import DeliveryState, JobState
from dicom_node.net.sender import NOT_ACCEPTED, Sender
from dicom_node.testing.peer import Script, ScriptedScp
from dicom_node.testing.series import SyntheticSeries

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
Dispatching = Callable[..., Dispatch]


@pytest.fixture
def dispatching(tmp_path: Path) -> Iterator[Dispatching]:
    """Makes a `Dispatch` for the given peers; its database is closed after the test."""
    made = []

    def make(known: Mapping[str, PeerSection], attempts: int = 3) -> Dispatch:
        made.append(dispatch(tmp_path, known, attempts=attempts))
        return made[-1]

    yield make
    for one in made:
        one.database.close()


def ct(slices: int = 4, number: int = 1) -> SyntheticSeries:
    return SyntheticSeries(slices=slices, series_number=number, seed=number)


def uids(series: SyntheticSeries) -> list[str]:
    return [series.sop_instance_uid(n) for n in range(series.frames)]


def test_orthanc_has_everything_and_says_so(orthanc: peers.Orthanc, dispatching: Dispatching) -> None:
    sending = dispatching({"pacs": peer("ORTHANC", orthanc.port)})
    series, companion = ct(40), ct(2, number=2)
    job = sending.derived("a", {"map:change": companion, "ct": series}, ("pacs",))
    sending.attempt()
    assert sending.job(job).state is JobState.DELIVERED
    delivery = sending.deliveries(job)["pacs"]
    assert delivery.verified == "ct: c-find 40 of 40; map:change: c-find 2 of 2"
    assert orthanc.sop_instance_uids() == set(uids(series)) | set(uids(companion))
    received = {dcmread(BytesIO(b)).PixelData for b in orthanc.files_of_series(series.series_instance_uid)}
    assert received == {d.PixelData for d in series.datasets()}


def test_storescp_without_find_counts_by_status(
    storescp: Callable[..., peers.StoreScp], dispatching: Dispatching
) -> None:
    there = storescp()
    sending = dispatching({"pacs": peer(there.ae_title, there.port)})
    job = sending.derived("a", {"ct": ct()}, ("pacs",))
    sending.attempt()
    assert "status only" in (sending.deliveries(job)["pacs"].verified or "")
    assert len(there.files()) == 4


def test_unreachable_peer_is_tried_for_ever(dispatching: Dispatching) -> None:
    sending = dispatching({"pacs": peer("NOBODY", free_port())}, attempts=1)
    job = sending.derived("a", {"ct": ct(1)}, ("pacs",))
    for _ in range(3):
        sending.attempt()
        sending.later()
    delivery = sending.deliveries(job)["pacs"]
    assert (delivery.state, delivery.attempts) == (DeliveryState.PENDING, 0)
    assert delivery.error_code == "PeerUnreachable"


def test_rejection_is_named(dispatching: Dispatching) -> None:
    with ScriptedScp(Script(refuse=True)) as there:
        sending = dispatching({"pacs": peer("SCRIPTED", there.port)})
        job = sending.derived("a", {"ct": ct(1)}, ("pacs",))
        sending.attempt()
        assert "rejected" in (sending.deliveries(job)["pacs"].error or "")


def test_abort_in_the_middle_resends_only_what_was_not_acknowledged(dispatching: Dispatching) -> None:
    with ScriptedScp(Script(abort_at=2)) as there:
        sending = dispatching({"pacs": peer("SCRIPTED", there.port)})
        series = ct(4)
        job = sending.derived("a", {"ct": series}, ("pacs",))
        sending.attempt()
        assert sending.job(job).state is JobState.DELIVERED
        assert sending.deliveries(job)["pacs"].attempts == 0
        # The others first, on a new association; then the one at which it broke off.
        assert there.requests == [*uids(series), uids(series)[2]]


def test_peer_that_breaks_off_at_everything_is_never_given_up(dispatching: Dispatching) -> None:
    with ScriptedScp(Script(always_abort_from=1)) as there:
        sending = dispatching({"pacs": peer("SCRIPTED", there.port)}, attempts=1)
        job = sending.derived("a", {"ct": ct(3)}, ("pacs",))
        for _ in range(3):
            sending.attempt()
            sending.later()
        delivery = sending.deliveries(job)["pacs"]
        assert (delivery.state, delivery.attempts, delivery.error_code) == (DeliveryState.PENDING, 0, "PeerUnreachable")
        assert set(delivery.statuses.values()) == {0}
        there.script = Script()
        sending.attempt()
        assert sending.job(job).state is JobState.DELIVERED


def test_hanging_peer_holds_up_nobody_else(dispatching: Dispatching) -> None:
    with ScriptedScp(Script(hang_from=0)) as hanging, ScriptedScp() as good:
        known = {"slow": peer("SCRIPTED", hanging.port, timeout_s=1), "pacs": peer("SCRIPTED", good.port)}
        sending = dispatching(known)
        jobs = [sending.derived(str(n), {"ct": ct(2, number=n)}, ("slow", "pacs")) for n in (1, 2)]
        stage = sending.attempt(wait=False)

        def others_done() -> bool:
            stage.step(sending.now)
            return all(sending.deliveries(job)["pacs"].state is DeliveryState.DONE for job in jobs)

        wait_until(others_done)
        assert stage.busy() > 0
        wait_until(lambda: stage.busy() == 0)
        stage.close(10)
        assert [sending.deliveries(j)["slow"].state for j in jobs] == [DeliveryState.PENDING] * 2
        assert [sending.job(j).state for j in jobs] == [JobState.DERIVED] * 2


def test_full_peer_costs_no_attempt_and_refusal_does(dispatching: Dispatching) -> None:
    with ScriptedScp(Script(statuses={1: 0xA700, 3: 0xC000})) as there:
        sending = dispatching({"pacs": peer("SCRIPTED", there.port)}, attempts=2)
        job = sending.derived("a", {"ct": ct(3)}, ("pacs",))
        sending.attempt()
        delivery = sending.deliveries(job)["pacs"]
        assert (delivery.error_code, delivery.attempts) == ("PeerBusy", 0)
        sending.later()
        sending.attempt()
        delivery = sending.deliveries(job)["pacs"]
        assert (delivery.error_code, delivery.attempts) == ("PeerRefused", 1)
        assert "0xC000" in (delivery.error or "")
        sending.later()
        sending.attempt()
        assert sending.job(job).state is JobState.DELIVERED


def test_warnings_count_as_stored(dispatching: Dispatching) -> None:
    with ScriptedScp(Script(statuses={0: 0xB000})) as there:
        sending = dispatching({"pacs": peer("SCRIPTED", there.port)})
        job = sending.derived("a", {"ct": ct(2)}, ("pacs",))
        sending.attempt()
        assert sending.job(job).state is JobState.DELIVERED


def test_acknowledged_but_not_listed_is_sent_again(dispatching: Dispatching) -> None:
    series = ct(3)
    lost = uids(series)[1]
    with ScriptedScp(Script(forgets=frozenset({lost}))) as there:
        sending = dispatching({"pacs": peer("SCRIPTED", there.port)})
        job = sending.derived("a", {"ct": series}, ("pacs",))
        sending.attempt()
        assert "c-find 2 of 3" in (sending.deliveries(job)["pacs"].error or "")
        there.script = Script()
        sending.later()
        sending.attempt()
        assert sending.job(job).state is JobState.DELIVERED
        assert there.requests == [*uids(series), lost]


def test_find_that_names_no_instances_is_no_proof_of_loss(dispatching: Dispatching) -> None:
    with ScriptedScp(Script(lists_instances=False)) as there:
        sending = dispatching({"pacs": peer("SCRIPTED", there.port)})
        job = sending.derived("a", {"ct": ct(2)}, ("pacs",))
        sending.attempt()
        assert sending.job(job).state is JobState.DELIVERED
        assert "status only" in (sending.deliveries(job)["pacs"].verified or "")


def test_implicit_only_peer_gets_transcoded_instances(dispatching: Dispatching) -> None:
    series = SyntheticSeries(slices=2, transfer_syntax_uid=JPEG2000Lossless)
    plain = SyntheticSeries(slices=2)
    with ScriptedScp(Script(transfer_syntaxes=(ImplicitVRLittleEndian,))) as there:
        sending = dispatching({"pacs": peer("SCRIPTED", there.port)})
        job = sending.derived("a", {"ct": series}, ("pacs",))
        sending.attempt()
        assert sending.job(job).state is JobState.DELIVERED
        assert set(there.syntaxes.values()) == {ImplicitVRLittleEndian}
        for frame, uid in enumerate(uids(series)):
            assert there.stored[uid].PixelData == plain.dataset(frame).PixelData


def test_companion_that_fits_no_context_does_not_cost_the_corrected_series(dispatching: Dispatching) -> None:
    companion = SyntheticSeries(modality="MR", slope=None, intercept=None, slices=2, series_number=9)
    with ScriptedScp(Script(sop_classes=(CT,))) as there:
        sending = dispatching({"pacs": peer("SCRIPTED", there.port)})
        job = sending.derived("a", {"map:change": companion, "ct": ct(2)}, ("pacs",))
        sending.attempt()
        assert sending.job(job).state is JobState.DELIVERED
        delivery = sending.deliveries(job)["pacs"]
        assert delivery.verified == "ct: c-find 2 of 2; map:change: not accepted by the peer (2 of 2)"
        assert [delivery.statuses[u] for u in uids(companion)] == [NOT_ACCEPTED] * 2


def test_corrected_series_that_fits_no_context_is_refused_and_says_why(dispatching: Dispatching) -> None:
    with ScriptedScp(Script(sop_classes=(MR,))) as there:
        sending = dispatching({"pacs": peer("SCRIPTED", there.port)}, attempts=1)
        job = sending.derived("a", {"ct": ct(2)}, ("pacs",))
        sending.attempt()
        assert sending.job(job).state is JobState.DEAD
        delivery = sending.deliveries(job)["pacs"]
        assert delivery.error_code == "PeerRefused"
        assert "0x0122" in (delivery.error or "")


def test_compressed_only_peer_is_refused_with_its_reason(dispatching: Dispatching) -> None:
    with ScriptedScp(Script(transfer_syntaxes=(JPEG2000Lossless,))) as there:
        sending = dispatching({"pacs": peer("SCRIPTED", there.port)}, attempts=1)
        job = sending.derived("a", {"ct": ct(1)}, ("pacs",))
        sending.attempt()
        assert sending.deliveries(job)["pacs"].error_code == "PeerRefused"


def test_echo() -> None:
    with ScriptedScp() as there:
        Sender(peer("SCRIPTED", there.port), "NODE").echo()
    with pytest.raises(PeerUnreachable, match="refused"):
        Sender(peer("NOBODY", free_port()), "NODE").echo()


def test_explicit_is_kept_where_the_peer_takes_it(dispatching: Dispatching) -> None:
    with ScriptedScp(Script(transfer_syntaxes=(ImplicitVRLittleEndian, ExplicitVRLittleEndian))) as there:
        sending = dispatching({"pacs": peer("SCRIPTED", there.port)})
        sending.derived("a", {"ct": ct(1)}, ("pacs",))
        sending.attempt()
        assert set(there.syntaxes.values()) == {ExplicitVRLittleEndian}


def test_process_that_dies_while_sending_is_taken_over_where_it_was(dispatching: Dispatching) -> None:
    series = ct(4)
    with ScriptedScp(Script(hang_from=2)) as there:
        sending = dispatching({"pacs": peer("SCRIPTED", there.port, timeout_s=20)})
        job = sending.derived("a", {"ct": series}, ("pacs",))
        dead = sending.attempt(wait=False)
        wait_until(lambda: len(there.requests) == 3)
        with sending.database.begin() as tx:
            assert sending.ledger.release_delivery(tx, "delivery", sending.now) == 1
        there.script = Script()
        sending.attempt()
        assert sending.job(job).state is JobState.DELIVERED
        assert there.requests == [*uids(series)[:3], *uids(series)[2:]]
    wait_until(lambda: dead.busy() == 0, what="the dead one lets go")
    dead.close(10)
    assert sending.job(job).state is JobState.DELIVERED


def test_what_waits_behind_a_hanging_peer_loses_nothing_when_the_process_dies(dispatching: Dispatching) -> None:
    with ScriptedScp(Script(hang_from=0)) as there:
        sending = dispatching({"pacs": peer("SCRIPTED", there.port, timeout_s=1)})
        jobs = [sending.derived(str(n), {"ct": ct(2, number=n)}, ("pacs",)) for n in (1, 2, 3)]
        stage = sending.attempt(wait=False)
        assert stage.step(sending.now) == 0
        with sending.database.begin() as tx:
            assert sending.ledger.release_delivery(tx, "delivery", sending.now) == 1
        assert [sending.deliveries(job)["pacs"].state for job in jobs] == [DeliveryState.PENDING] * 3
        wait_until(lambda: stage.busy() == 0, what="the hanging one lets go")
        stage.close(10)


def test_stopping_gives_the_delivery_back_without_charge(dispatching: Dispatching) -> None:
    with ScriptedScp() as there:
        sending = dispatching({"pacs": peer("SCRIPTED", there.port)})
        jobs = [sending.derived(str(n), {"ct": ct(20, number=n)}, ("pacs",)) for n in (1, 2)]
        stage = sending.attempt(wait=False)
        wait_until(lambda: len(there.requests) > 2)
        stage.close(30)
        assert stage.busy() == 0
        found = [sending.deliveries(job)["pacs"] for job in jobs]
        assert {d.state for d in found} == {DeliveryState.PENDING}
        assert {d.attempts for d in found} == {0}
        sending.later()
        sending.attempt()
        assert [sending.job(job).state for job in jobs] == [JobState.DELIVERED] * 2
        assert len(there.requests) == 40


def test_peer_that_left_the_configuration_is_named(dispatching: Dispatching) -> None:
    sending = dispatching({})
    job = sending.derived("a", {"ct": ct(1)}, ("gone",))
    sending.attempt()
    assert sending.job(job).state is JobState.DEAD
    assert "'gone' is not configured" in (sending.deliveries(job)["gone"].error or "")


def test_database_that_fails_once_costs_nothing(dispatching: Dispatching, monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedScp() as there:
        sending = dispatching({"pacs": peer("SCRIPTED", there.port)}, attempts=1)
        job = sending.derived("a", {"ct": ct(3)}, ("pacs",))

        def away(*_: object) -> None:
            raise LedgerError("the database refused: it is away")

        with monkeypatch.context() as patch:
            patch.setattr(sending.ledger, "instance_sent", away)
            sending.attempt()
        delivery = sending.deliveries(job)["pacs"]
        assert (delivery.state, delivery.attempts) == (DeliveryState.PENDING, 0)
        sending.later()
        sending.attempt()
        assert sending.job(job).state is JobState.DELIVERED
