"""Destinations that misbehave at every point: the end state is right, and one that recovers has everything once."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import peers
import psutil
import pytest
from consignments import Dispatch, dispatch, peer
from hostile import Call, HostilePeer, Manners, p_data
from peers import wait_until

from dicom_node.config import PeerSection
from dicom_node.errors import PeerUnreachable
from dicom_node.jobs.model import Delivery, Job
from dicom_node.jobs.states import DeliveryState, JobState
from dicom_node.net.delivery import Delivery as Stage
from dicom_node.net.sender import Sender
from dicom_node.testing.series import SyntheticSeries

PATIENCE_S = 0.4
Dispatching = Callable[..., Dispatch]


@pytest.fixture
def dispatching(tmp_path: Path) -> Iterator[Dispatching]:
    """Makes a `Dispatch` for the given peers; its database is closed after the test."""
    made = []

    def make(known: Mapping[str, PeerSection], attempts: int = 1) -> Dispatch:
        made.append(dispatch(tmp_path, known, attempts=attempts))
        return made[-1]

    yield make
    for one in made:
        one.database.close()


def ct(slices: int = 3, number: int = 1, rows: int = 32) -> SyntheticSeries:
    return SyntheticSeries(slices=slices, series_number=number, seed=number, rows=rows, columns=rows)


def uids(series: SyntheticSeries) -> list[str]:
    return [series.sop_instance_uid(n) for n in range(series.frames)]


def delivery(sending: Dispatch, job: Job) -> Delivery:
    return sending.deliveries(job)["pacs"]


def recover(sending: Dispatch, there: HostilePeer) -> None:
    """The peer behaves from now on, and may be as slow as a busy machine makes it."""
    there.manners = Manners()
    patient = {name: one.model_copy(update={"timeout_s": 20}) for name, one in sending.config.peers.items()}
    sending.config = sending.config.model_copy(update={"peers": patient})
    sending.later()
    sending.attempt()


def close(call: Call) -> None:
    call.line.close()


def half_an_answer(call: Call) -> None:
    answer = call.answer()
    call.line.sendall(answer[: len(answer) // 2])
    call.line.close()


def garbage(call: Call) -> None:
    call.line.sendall(b"HTTP/1.1 400 Bad Request\r\n" + os.urandom(2000))
    call.hang()


def four_gigabytes(call: Call) -> None:
    call.line.sendall(struct.pack(">BBI", 4, 0, 0xFFFFFFFF))
    while True:
        call.line.sendall(bytes(65536))


def four_gigabytes_instead_of_an_acceptance(call: Call) -> None:
    call.line.sendall(struct.pack(">BBI", 2, 0, 0xFFFFFFFF))
    while True:
        call.line.sendall(bytes(65536))


def command_without_end(call: Call) -> None:
    while True:
        call.line.sendall(p_data(call.context_id, 1, bytes(8000)))


def trickle(call: Call) -> None:
    call.trickle(call.answer(), PATIENCE_S / 3)


def wrong_message_id(call: Call) -> None:
    call.line.sendall(call.answer(message_id=call.message_id + 1))


def abort(call: Call) -> None:
    call.line.sendall(struct.pack(">BBI4x", 7, 0, 4))
    call.line.close()


def asks_for_release(call: Call) -> None:
    call.line.sendall(struct.pack(">BBI4x", 5, 0, 4))
    call.hang()


def impossible_value(call: Call) -> None:
    call.line.sendall(struct.pack(">BBIIBB", 4, 0, 6, 0xFFFFFF, 1, 3))
    call.hang()


AT_STORE = [
    (Call.hang, "no answer within 0.4 s"),
    (close, "closed the connection"),
    (half_an_answer, "closed the connection"),
    (abort, "aborted the association"),
    (garbage, "instead of an answer"),
    (four_gigabytes, "4294967295 bytes instead of an answer"),
    (command_without_end, "command without end"),
    (trickle, "no answer within 0.4 s"),
    (wrong_message_id, "another message"),
    (asks_for_release, "release instead"),
    (impossible_value, "impossible length"),
]


@pytest.mark.parametrize(("manner", "says"), AT_STORE, ids=lambda one: getattr(one, "__name__", None))
def test_trouble_at_c_store_is_never_charged_and_passes(
    dispatching: Dispatching, manner: Callable[[Call], None], says: str
) -> None:
    series = ct()
    with HostilePeer(Manners(store=manner)) as there:
        sending = dispatching({"pacs": peer("HOSTILE", there.port, timeout_s=PATIENCE_S)})
        job = sending.derived("a", {"ct": series}, ("pacs",))
        sending.attempt()
        found = delivery(sending, job)
        assert (found.state, found.attempts, found.error_code) == (DeliveryState.PENDING, 0, "PeerUnreachable")
        assert says in (found.error or "")
        recover(sending, there)
        assert sending.job(job).state is JobState.DELIVERED
        assert there.stored == dict.fromkeys(uids(series), 1)


BEFORE_STORE = [
    (Manners(connected=Call.hang), "not answered within 0.4 s"),
    (Manners(connected=close), "aborted or not answered"),
    (Manners(connected=garbage), ""),
    (Manners(requested=Call.hang), "not answered within 0.4 s"),
    (Manners(requested=close), "aborted or not answered"),
    (Manners(requested=four_gigabytes_instead_of_an_acceptance), "announced a PDU of 4294967295 bytes"),
    (Manners(requested=lambda call: call.trickle(bytes([2, 0, 0, 0, 0, 200]) + bytes(200), 0.2)), "not answered"),
    (Manners(requested=abort), "aborted or not answered"),
    (Manners(accepted=abort), ""),
    (Manners(accepted=close), ""),
    (Manners(accepted=garbage), ""),
    (Manners(begun=close), ""),
    (Manners(begun=abort), "aborted the association"),
    (Manners(maximum_length=7), "takes no PDU larger than 7 bytes"),
]


@pytest.mark.parametrize(("manners", "says"), BEFORE_STORE)
def test_trouble_before_the_data_is_never_charged_and_passes(
    dispatching: Dispatching, manners: Manners, says: str
) -> None:
    series = ct()
    with HostilePeer(manners) as there:
        sending = dispatching({"pacs": peer("HOSTILE", there.port, timeout_s=PATIENCE_S)})
        job = sending.derived("a", {"ct": series}, ("pacs",))
        sending.attempt()
        found = delivery(sending, job)
        assert (found.state, found.attempts, found.error_code) == (DeliveryState.PENDING, 0, "PeerUnreachable")
        assert says in (found.error or "")
        recover(sending, there)
        assert sending.job(job).state is JobState.DELIVERED
        assert there.stored == dict.fromkeys(uids(series), 1)


def test_peer_that_stops_reading_is_left(dispatching: Dispatching) -> None:
    with HostilePeer(Manners(begun=Call.hang)) as there:
        sending = dispatching({"pacs": peer("HOSTILE", there.port, timeout_s=PATIENCE_S)})
        job = sending.derived("a", {"ct": ct(1, rows=2200)}, ("pacs",))
        sending.attempt()
        found = delivery(sending, job)
        assert (found.state, found.attempts) == (DeliveryState.PENDING, 0)
        assert "took no data" in (found.error or "")


def test_peer_that_never_answers_release_has_everything(dispatching: Dispatching) -> None:
    with HostilePeer(Manners(release=Call.hang)) as there:
        sending = dispatching({"pacs": peer("HOSTILE", there.port, timeout_s=PATIENCE_S)})
        series = ct()
        job = sending.derived("a", {"ct": series}, ("pacs",))
        sending.attempt()
        assert sending.job(job).state is JobState.DELIVERED
        assert there.stored == dict.fromkeys(uids(series), 1)


def endless_matches(call: Call) -> None:
    pending = struct.pack("<HHIH", 0, 0x0900, 2, 0xFF00)
    answer = b"".join(
        struct.pack("<HHIH", 0, number, 2, value)
        for number, value in ((0x0100, 0x8020), (0x0120, call.message_id), (0x0800, 1))
    )
    while True:
        data = p_data(call.context_id, 2, b"\x08\x00\x18\x00UI\x04\x001.2\0")
        call.line.sendall(p_data(call.context_id, 3, answer + pending) + data)


@pytest.mark.parametrize("find", [Call.hang, close, abort, garbage, four_gigabytes, trickle, endless_matches])
def test_trouble_at_c_find_sends_nothing_twice(dispatching: Dispatching, find: Callable[[Call], None]) -> None:
    with HostilePeer(Manners(find=find)) as there:
        sending = dispatching({"pacs": peer("HOSTILE", there.port, timeout_s=PATIENCE_S)})
        series = ct()
        job = sending.derived("a", {"ct": series}, ("pacs",))
        sending.attempt()
        found = delivery(sending, job)
        assert found.attempts == 0
        assert found.state in (DeliveryState.PENDING, DeliveryState.DONE)
        recover(sending, there)
        assert sending.job(job).state is JobState.DELIVERED
        assert there.stored == dict.fromkeys(uids(series), 1)


@pytest.mark.parametrize("manner", [four_gigabytes, command_without_end])
def test_floods_leave_memory_flat(manner: Callable[[Call], None], tmp_path: Path, dispatching: Dispatching) -> None:
    with HostilePeer(Manners(store=manner, find=endless_matches)) as there:
        sending = dispatching({"pacs": peer("HOSTILE", there.port, timeout_s=PATIENCE_S)})
        sending.derived("a", {"ct": ct()}, ("pacs",))
        sending.attempt()
        before = psutil.Process().memory_info().rss
        for _ in range(5):
            sending.later()
            sending.attempt()
        assert psutil.Process().memory_info().rss - before < 30e6


STATUSES = [
    (0xB000, JobState.DELIVERED, "Delivered"),
    (0xB007, JobState.DELIVERED, "Delivered"),
    (0x0111, JobState.DELIVERED, "Delivered"),
    (0xA700, JobState.DERIVED, "PeerBusy"),
    (0xA701, JobState.DERIVED, "PeerBusy"),
    (0x0122, JobState.DEAD, "PeerRefused"),
    (0x0124, JobState.DEAD, "PeerRefused"),
    (0xA900, JobState.DEAD, "PeerRefused"),
    (0xC001, JobState.DEAD, "PeerRefused"),
]


@pytest.mark.parametrize(("status", "state", "code"), STATUSES)
def test_what_a_status_means(dispatching: Dispatching, status: int, state: JobState, code: str) -> None:
    with HostilePeer(Manners(store=lambda call: call.line.sendall(call.answer(status)))) as there:
        sending = dispatching({"pacs": peer("HOSTILE", there.port)})
        job = sending.derived("a", {"ct": ct()}, ("pacs",))
        sending.attempt()
        assert sending.job(job).state is state
        found = delivery(sending, job)
        if state is JobState.DELIVERED:
            assert found.verified
        else:
            assert found.error_code == code
            assert f"0x{status:04X}" in (found.error or "")


def done(sending: Dispatch, stage: Stage) -> None:
    """Hand out what is due, until nothing is in hand."""
    wait_until(lambda: stage.step(sending.now) == 0 and stage.busy() == 0, what="lanes empty")


def at(wrong: str, manner: Callable[[Call], None]) -> Callable[[Call], None]:
    """Misbehave at one instance, store the others."""
    return lambda call: manner(call) if call.sop_instance_uid == wrong else call.store()


@pytest.mark.parametrize(("manner", "position"), [(Call.hang, 0), (abort, 1), (close, 0)])
def test_instance_that_breaks_its_peer_every_time_ends_dead_and_the_others_arrive(
    dispatching: Dispatching, manner: Callable[[Call], None], position: int
) -> None:
    series, good = ct(), ct(2, number=2)
    poison = uids(series)[position]
    with HostilePeer(Manners(store=at(poison, manner))) as there:
        patience_s = 0.6 if manner is Call.hang else 10
        sending = dispatching({"pacs": peer("HOSTILE", there.port, timeout_s=patience_s)}, attempts=2)
        job = sending.derived("a", {"ct": series}, ("pacs",))
        stage = sending.attempt(wait=False)
        done(sending, stage)
        found = delivery(sending, job)
        assert (found.state, found.attempts, found.error_code) == (DeliveryState.PENDING, 1, "InstanceNotTaken")
        assert there.stored == dict.fromkeys(set(uids(series)) - {poison}, 1)
        # Alone in its delivery now: no charge while nothing else shows that the peer is well.
        for _ in range(2):
            sending.later()
            done(sending, stage)
            assert (delivery(sending, job).attempts, delivery(sending, job).error_code) == (1, "PeerUnreachable")
        other = sending.derived("b", {"ct": good}, ("pacs",))
        done(sending, stage)
        assert sending.job(other).state is JobState.DELIVERED
        sending.later()
        done(sending, stage)
        found = delivery(sending, job)
        assert (sending.job(job).state, found.state) == (JobState.DEAD, DeliveryState.DEAD)
        assert poison in (found.error or "")
        assert there.stored == dict.fromkeys({*uids(series), *uids(good)} - {poison}, 1)
        stage.close(10)


def test_peer_that_hangs_at_everything_is_never_given_up(dispatching: Dispatching) -> None:
    with HostilePeer(Manners(store=Call.hang)) as there:
        sending = dispatching({"pacs": peer("HOSTILE", there.port, timeout_s=0.2)})
        jobs = [sending.derived(str(n), {"ct": ct(n, number=n)}, ("pacs",)) for n in (1, 2)]
        for _ in range(4):
            sending.attempt()
            sending.later()
        assert {delivery(sending, job).attempts for job in jobs} == {0}
        assert {sending.job(job).state for job in jobs} == {JobState.DERIVED}


def test_peer_that_takes_one_instance_for_each_association_gets_all(dispatching: Dispatching) -> None:
    series = ct(5)
    with HostilePeer(Manners(store=lambda call: call.store() if call.begun == 1 else abort(call))) as there:
        sending = dispatching({"pacs": peer("HOSTILE", there.port)})
        job = sending.derived("a", {"ct": series}, ("pacs",))
        sending.attempt()
        assert sending.job(job).state is JobState.DELIVERED
        assert there.stored == dict.fromkeys(uids(series), 1)


def test_peer_that_goes_away_after_an_instance_does_not_put_it_in_suspicion(dispatching: Dispatching) -> None:
    series = ct(3)

    def leave(call: Call) -> None:
        if call.number == 0 and call.begun == 2:
            abort(call)
        elif call.number == 0 or call.begun == 1:
            call.store()
            there.manners = Manners(connected=close, store=leave) if call.number == 1 else there.manners

    with HostilePeer(Manners(store=leave)) as there:
        sending = dispatching({"pacs": peer("HOSTILE", there.port)})
        job = sending.derived("a", {"ct": series}, ("pacs",))
        sending.attempt()
        found = delivery(sending, job)
        assert (found.state, found.attempts, found.error_code) == (DeliveryState.PENDING, 0, "PeerUnreachable")
        recover(sending, there)
        assert sending.job(job).state is JobState.DELIVERED
        assert there.stored == dict.fromkeys(uids(series), 1)


@pytest.mark.parametrize("limit", [0, 128, 4096, 2**32 - 1])
def test_instances_arrive_whole_whatever_the_peers_pdu(dispatching: Dispatching, limit: int) -> None:
    with HostilePeer(Manners(maximum_length=limit)) as there:
        sending = dispatching({"pacs": peer("HOSTILE", there.port)})
        series = ct()
        job = sending.derived("a", {"ct": series}, ("pacs",))
        sending.attempt()
        assert sending.job(job).state is JobState.DELIVERED
        assert there.stored == dict.fromkeys(uids(series), 1)


def test_echo_to_hostile_peers_ends_with_an_error() -> None:
    for manners in (Manners(accepted=Call.hang), Manners(accepted=garbage), Manners(connected=Call.hang)):
        with HostilePeer(manners) as there, pytest.raises(PeerUnreachable):
            Sender(peer("HOSTILE", there.port, timeout_s=PATIENCE_S), "NODE").echo()


@pytest.mark.parametrize(
    ("options", "timeout_s"),
    [
        (("--max-pdu", "4096"), 10),
        (("--implicit",), 10),
        (("--fork", "-dhl"), 10),
        (("--reject",), 10),
        (("--sleep-after", "1"), 10),
        (("+B", "--max-pdu", "131072"), 10),
    ],
)
def test_odd_but_lawful_storescp_gets_everything(
    storescp: Callable[..., peers.StoreScp], dispatching: Dispatching, options: tuple[str, ...], timeout_s: float
) -> None:
    there = storescp(*options)
    sending = dispatching({"pacs": peer("STORESCP", there.port, timeout_s=timeout_s)})
    job = sending.derived("a", {"ct": ct(2)}, ("pacs",))
    sending.attempt()
    assert sending.job(job).state is JobState.DELIVERED
    assert len(there.files()) == 2


@pytest.mark.parametrize(
    "options",
    [("--refuse",), ("--abort-during",), ("--abort-after",), ("--sleep-during", "60"), ("--sleep-after", "60")],
)
def test_hostile_storescp_then_a_good_one(
    storescp: Callable[..., peers.StoreScp], dispatching: Dispatching, options: tuple[str, ...]
) -> None:
    hostile = storescp(*options)
    sending = dispatching({"pacs": peer("STORESCP", hostile.port, timeout_s=1)})
    job = sending.derived("a", {"ct": ct(4)}, ("pacs",))
    sending.attempt()
    assert sending.job(job).state is JobState.DERIVED
    assert (delivery(sending, job).state, delivery(sending, job).attempts) == (DeliveryState.PENDING, 0)
    hostile.process.kill()
    hostile.process.wait()
    good = storescp(port=hostile.port)
    patient = {"pacs": peer("STORESCP", good.port, timeout_s=20)}
    sending.config = sending.config.model_copy(update={"peers": patient})
    sending.later()
    sending.attempt()
    assert sending.job(job).state is JobState.DELIVERED
    assert len({path.name for there in (hostile, good) for path in there.files()}) == 4
