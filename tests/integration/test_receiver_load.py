"""Many, large, slow, silent and senseless peers at once: the others notice nothing, and memory stays flat."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import random
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import wire
from bulk import enhanced_mr
from footprint import footprints, wait_for_rest
from nodes import ReceiverNode, node_config, receivers
from peers import wait_until
from wire import ABORT, ASSOCIATE_AC, ASSOCIATE_RJ, ENHANCED_MR, MIXED, STORAGE, Line

MOST_MIB = 120
FRAGMENT = 131_072
SHORT_S = 1.0


def body(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


def cut(data: bytes) -> Iterator[bytes]:
    """Fragments as a sender that uses all of a PDU sends them."""
    for at in range(0, len(data), FRAGMENT):
        yield data[at : at + FRAGMENT]


def data_set_of(path: Path) -> bytes:
    data = path.read_bytes()
    return data[144 + struct.unpack_from("<I", data, 140)[0] :]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReceiverNode]:
    """Two receivers with ordinary deadlines."""
    with receivers(node_config(tmp_path_factory.mktemp("load")), count=2) as node:
        yield node


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReceiverNode]:
    """Two receivers with short deadlines."""
    intake = {"request_timeout_s": SHORT_S, "association_timeout_s": SHORT_S, "pdu_timeout_s": SHORT_S}
    with receivers(node_config(tmp_path_factory.mktemp("slow"), intake=intake), count=2) as node:
        yield node


def test_sixty_four_associations_and_a_large_one_among_them(shared: ReceiverNode) -> None:
    """All arrive, whoever sends little is served while 500 MB stream, and no receiver grows with what it takes."""
    large_uid, sizes = "2.25.500", (2_000, 35_000, 525_000)
    streaming, digest, times = threading.Event(), hashlib.sha256(), dict[str, float]()

    def large() -> int:
        head, *frames = enhanced_mr(500_000_000)
        start = 144 + struct.unpack_from("<I", head, 140)[0]

        def pieces() -> Iterator[bytes]:
            for number, block in enumerate([head[start:], *frames]):
                digest.update(block)
                yield from cut(block)
                if number == 2:
                    streaming.set()

        with Line(shared.port) as line:
            line.associate(MIXED)
            status = line.store(large_uid, pieces(), context=5, sop_class=ENHANCED_MR)
            times[large_uid] = time.monotonic()
            line.release()
        return status

    def small(number: int) -> list[int]:
        assert streaming.wait(60)
        statuses = []
        with Line(shared.port) as line:
            line.associate(MIXED)
            for turn in range(6):
                uid, size = f"2.25.64.{number}.{turn}", sizes[(number + turn) % 3]
                statuses.append(line.store(uid, cut(body(size, number * 10 + turn))))
                times.setdefault(f"first {number}", time.monotonic())
            line.release()
        return statuses

    with ThreadPoolExecutor(64) as pool:
        taking: Future[int] = pool.submit(large)
        statuses = [status for one in pool.map(small, range(63)) for status in one]
        assert taking.result() == 0
    assert statuses == [0] * 63 * 6
    assert all(times[f"first {number}"] < times[large_uid] for number in range(63))

    received = shared.received()
    for number, turn in itertools.product(range(63), range(6)):
        size = sizes[(number + turn) % 3]
        assert data_set_of(received[f"2.25.64.{number}.{turn}"]) == body(size, number * 10 + turn)
    with received[large_uid].open("rb") as stream:
        stream.seek(140)
        stream.seek(struct.unpack("<I", stream.read(4))[0], 1)
        assert hashlib.file_digest(stream, "sha256").digest() == digest.digest()
    received[large_uid].unlink()
    assert shared.peak_mib() < MOST_MIB
    wait_until(lambda: not shared.open_associations())


def _silent(port: int) -> Line:
    return Line(port)


def _half_a_request(port: int) -> Line:
    line = Line(port)
    line.send(wire.associate_rq(STORAGE)[:100])
    return line


def _associated(port: int) -> Line:
    line = Line(port)
    line.associate(MIXED)
    return line


def _half_a_data_set(port: int) -> Line:
    line = _associated(port)
    line.send(wire.store("2.25.1", bytes(100_000), fragment=16_000)[:50_000])
    return line


def _half_a_pdu(port: int) -> Line:
    line = _associated(port)
    line.send(wire.store("2.25.2", bytes(100_000))[:300])
    return line


SILENT: dict[str, Callable[[int], Line]] = {
    "after connect": _silent,
    "in the request": _half_a_request,
    "after association": _associated,
    "between two PDUs of a data set": _half_a_data_set,
    "in a PDU": _half_a_pdu,
}


def test_slow_and_silent_peers_stop_nobody_and_are_cut_off(impatient: ReceiverNode) -> None:
    with Line(impatient.port) as line:  # whatever is loaded with the first association is loaded
        line.associate(MIXED)
        line.release()
    before = footprints(impatient)
    done = threading.Event()

    def drip(line: Line, data: bytes) -> tuple[int, bytes] | None:
        """Byte by byte, never silent for long, until the node has had enough."""
        with line, contextlib.suppress(OSError):
            for at in range(len(data)):
                line.send(data[at : at + 1])
                if done.wait(0.1):
                    break
        return None

    def deaf(line: Line) -> None:
        """Ask and ask, and never read an answer, until nothing more goes out."""
        line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        requests = b"".join(wire.echo(n) for n in range(1000))
        with contextlib.suppress(OSError):
            for _ in range(10_000):
                line.send(requests)

    with contextlib.ExitStack() as stack, ThreadPoolExecutor(8) as pool:
        stack.callback(done.set)
        lines = {name: stack.enter_context(make(impatient.port)) for name, make in SILENT.items()}
        crowd = [stack.enter_context(Line(impatient.port)) for _ in range(40)]
        slow = [
            pool.submit(drip, Line(impatient.port), wire.associate_rq(STORAGE)),
            pool.submit(drip, _associated(impatient.port), wire.store("2.25.3", bytes(500))),
        ]
        never_reads = stack.enter_context(Line(impatient.port, timeout_s=5))
        never_reads.associate(MIXED)
        asking = pool.submit(deaf, never_reads)
        with Line(impatient.port) as line:
            line.associate()
            assert [line.store(f"2.25.9.{n}", [body(35_000, n)]) for n in range(30)] == [0] * 30
            line.release()
        for name, line in lines.items():
            last = line.ended()
            assert last is None or last[0] == ABORT, name
        for line in crowd:
            assert line.ended() is None
        for one in slow:
            one.result()
        asking.result()
        # Every one of them was cut off by the node: none has closed, and `done` is not set yet.
        wait_for_rest(impatient, before)
    assert set(impatient.received()) == {f"2.25.9.{n}" for n in range(30)}
    assert impatient.orphans() == set()
    assert impatient.counters()["timeouts"] == len(SILENT) + len(crowd) + len(slow) + 1


TLS_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(507)


def _garbage(number: int) -> bytes:
    """What the number-th senseless peer sends."""
    noise = random.Random(number)
    kinds: tuple[Callable[[], bytes], ...] = (
        lambda: noise.randbytes(noise.randrange(1, 300)),
        lambda: struct.pack(">BBI", 1, 0, noise.randrange(2**20, 2**32)) + noise.randbytes(100),
        lambda: wire.associate_rq(STORAGE)[: noise.randrange(1, 200)],
        lambda: b"",
        lambda: TLS_HELLO,
        lambda: b"GET / HTTP/1.1\r\nHost: node\r\n\r\n",
        lambda: wire.pdu(1, noise.randbytes(noise.randrange(300))),
        lambda: wire.associate_rq(MIXED) + noise.randbytes(50),
        lambda: wire.pdu(4, noise.randbytes(50)),
        lambda: wire.associate_rq(STORAGE) + wire.store(f"2.25.7.{number}", bytes(5_000))[: noise.randrange(6_000)],
    )
    return kinds[number % len(kinds)]()


def _flood(port: int, numbers: range) -> None:
    """Connect, send, and hang up; the last few hang around, so that some are always there at once."""
    staying: deque[socket.socket] = deque()
    for number in numbers:
        one = socket.create_connection(("127.0.0.1", port), 30)
        with contextlib.suppress(OSError):
            one.sendall(_garbage(number))
        staying.append(one)
        if len(staying) > 20:
            staying.popleft().close()
    for one in staying:
        one.close()


def test_ten_thousand_senseless_connections_leave_memory_flat(shared: ReceiverNode) -> None:
    rest = footprints(shared)
    _flood(shared.port, range(1_000))  # whatever Python loads and caches on the way is there now
    wait_for_rest(shared, rest)
    before = footprints(shared)
    with ThreadPoolExecutor(4) as pool:
        floods = [pool.submit(_flood, shared.port, range(1_000 + n, 10_000, 4)) for n in range(4)]
        with Line(shared.port) as line:
            line.associate()
            assert [line.store(f"2.25.8.{n}", [body(35_000, n)]) for n in range(20)] == [0] * 20
            line.release()
        assert not all(flood.done() for flood in floods)
        for flood in floods:
            flood.result()
    with Line(shared.port) as line:  # who is served has seen everybody before him accepted
        line.associate()
        line.release()
    wait_for_rest(shared, before)
    for now, then in zip(footprints(shared), before, strict=True):
        assert now.rss_mib < then.rss_mib + 4
    assert shared.peak_mib() < MOST_MIB
    assert shared.orphans() == set()


def test_limits_hold_for_each_address_and_in_total(tmp_path: Path) -> None:
    intake = {"max_associations": 5, "max_associations_per_address": 3}
    limit = (ASSOCIATE_RJ, bytes((0, 2, 3, 2)))  # rejected-transient, presentation, local-limit-exceeded

    def asks(source: str) -> Line:
        line = stack.enter_context(Line(node.port, source=source))
        line.send(wire.associate_rq(STORAGE))
        return line

    with receivers(node_config(tmp_path, intake=intake), count=2) as node, contextlib.ExitStack() as stack:
        first = [asks("127.0.0.2") for _ in range(4)]
        answers = [line.read() for line in first]
        assert [kind for kind, _ in filter(None, answers)].count(ASSOCIATE_AC) == 3
        assert answers.count(limit) == 1
        second = [asks("127.0.0.3") for _ in range(2)]
        assert [(line.read() or (0,))[0] for line in second] == [ASSOCIATE_AC] * 2
        assert asks("127.0.0.4").read() == limit
        second[0].release()
        wait_until(lambda: (asks("127.0.0.4").read() or (0,))[0] == ASSOCIATE_AC, 10, "the free seat is given away")
        assert node.counters()["rejected_limit"] >= 2


def test_storage_and_verification_on_one_association(shared: ReceiverNode) -> None:
    with Line(shared.port) as line:
        assert line.associate(MIXED) == set(MIXED)
        assert line.store("2.25.6.1", [body(1_000, 1)]) == 0
        line.send(wire.echo(7))
        assert line.answer() == wire.Answer(0x8030, 7, 0)
        assert line.store("2.25.6.2", [body(1_000, 2)]) == 0
        line.release()
    assert {"2.25.6.1", "2.25.6.2"} <= set(shared.received())
