"""What a soak run does to a node: made from its seed and nothing else."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from random import Random

from faulty_node import Fault

import dicom_node

ROOMS = {
    "spool": "receiver",
    "journal": "receiver",
    "receiver": "receiver",
    "intake": "intake",
    "worker": "worker",
    "outbox": "worker",
    "delivery": "delivery",
    "keeper": "keeper",
}
"""Which process passes the points of which room."""
_COMMANDS = ("repair",)
"""Rooms whose points no process of a running node passes; their own tests kill there."""
_BEFORE = {
    "intake.associations_lost": ("receiver", "receiver.recorded"),
    "intake.orphan_removed": ("receiver", "spool.written"),
    "intake.journal_removed": ("receiver", "receiver.recorded"),
    "intake.journal_forgotten": ("receiver", "receiver.recorded"),
    "intake.lock_removed": ("receiver", "receiver.recorded"),
    "outbox.cleared": ("worker", "outbox.published"),
}
"""Points that are only passed when clearing up behind a process that died elsewhere."""
_FOR_EACH_INSTANCE = ("intake.unlinked", "delivery.sent", "delivery.status_recorded")
"""Points, beside the receiver's, that are passed for each instance; the others perhaps only once in a run."""
_RARELY, _ON_A_SERVER = 25, 8
"""One seed in so many spawns its processes, and one has its ledger in PostgreSQL."""
_OTHERS = (*["kill"] * 5, *["node"] * 2, *["supervisor"] * 2, "stop", "pause", "error", "error")
_CODES = ("ENOSPC", "EROFS", "EIO")


@dataclass(frozen=True)
class Push:
    """How one series reaches the node.

    Attributes:
        slices: instances of the series.
        tool: `light` (our own sender) or `storescu`.
        repeat: whether it is pushed again until every instance is acknowledged.
        cut_after: for pushes that are not repeated: instances after which the sender goes away.
        ending: `release`, `abort`, `reset` the connection, or `half` an instance.
        delay_s: wait before it begins [s].
        poison: one instance that nobody can read, which the node must keep all the same.
    """

    slices: int
    tool: str
    repeat: bool
    cut_after: int
    ending: str
    delay_s: float
    poison: bool = False


@dataclass(frozen=True)
class Plan:
    """One soak run.

    Attributes:
        seed: makes it again.
        faults: what strikes at fault points.
        kills: (seconds after the start, process) of kills at any moment; `node` is all of them.
        pushes: one for each series, each of a patient of its own.
        receivers: receiver processes.
        spawn: whether children are spawned as in production, not forked from a warm server.
        keeping: whether what is delivered leaves the archive soon.
        postgresql: whether the ledger is on a server, where there is one; else it is SQLite.
    """

    seed: int
    faults: tuple[Fault, ...]
    kills: tuple[tuple[float, str], ...]
    pushes: tuple[Push, ...]
    receivers: int
    spawn: bool
    keeping: bool
    postgresql: bool

    def describe(self) -> str:
        """For people."""
        more = {"spawned": self.spawn, "retention": self.keeping, "PostgreSQL": self.postgresql}
        lines = [", ".join([f"seed {self.seed}: {self.receivers} receivers", *(name for name in more if more[name])])]
        lines += [
            f"  {f.kind} at {f.point}, {f.nth}. time: {f.action} {f.code} {f.seconds or ''}".rstrip()
            for f in self.faults
        ]
        lines += [f"  {who} killed after {at:.2f} s" for at, who in self.kills]
        lines += [f"  {push}" for push in self.pushes]
        return "\n".join(lines)


def points() -> tuple[tuple[str, str], ...]:
    """(kind of process, point) of every fault point in the source, in order.

    Raises:
        KeyError: a room of which nothing is known here.
    """
    found: set[str] = set()
    for path in Path(dicom_node.__file__).parent.rglob("*.py"):
        text = path.read_text()
        if "faults.reach(" in text:
            found |= {name for node in ast.walk(ast.parse(text)) if _is_reach(node) for name in _names(node)}
    rooms = {name: name.partition(".")[0] for name in found}
    return tuple(sorted((ROOMS[room], name) for name, room in rooms.items() if room not in _COMMANDS))


def _is_reach(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "faults.reach"


def _names(call: ast.AST) -> set[str]:
    return {one.value for one in ast.walk(call) if isinstance(one, ast.Constant) and isinstance(one.value, str)}


def make(seed: int) -> Plan:
    """The plan of a seed. As many seeds in a row as there are points kill a process at each of them."""
    rng = Random(seed)
    known = points()
    kind, point = known[seed % len(known)]
    keeping = kind == "keeper" or rng.random() < 0.05
    nth = rng.choice((1, 1, 2, 3)) if point in _FOR_EACH_INSTANCE or kind == "receiver" else 1
    faults = [Fault(kind, point, nth, rng.choice(("kill", "kill", "node")))]
    if point in _BEFORE:
        faults.append(Fault(*_BEFORE[point], nth=1, action="kill"))
    faults += [_other(rng, known) for _ in range(rng.choice((0, 1, 1, 2)))]
    receivers = rng.choice((1, 2))
    victims = ["node", "supervisor", "intake-0", "worker-0", "delivery-0"] + [f"receiver-{i}" for i in range(receivers)]
    kills = [(rng.uniform(0.0, 2.5), rng.choice(victims)) for _ in range(rng.choice((0, 0, 1)))]
    pushes = [_push(rng, repeat=True), _push(rng, repeat=rng.random() < 0.4)]
    if kind == "keeper" or rng.random() < 0.2:
        pushes.append(Push(1, "light", True, 1, "release", rng.uniform(0.0, 0.5), poison=True))
    return Plan(
        seed,
        tuple({fault.name: fault for fault in faults}.values()),
        tuple(kills),
        tuple(pushes),
        receivers,
        spawn=seed % _RARELY == 0,
        keeping=keeping,
        postgresql=seed % _ON_A_SERVER == 0,
    )


def _other(rng: Random, known: tuple[tuple[str, str], ...]) -> Fault:
    kind, point = rng.choice(known)
    action = rng.choice(_OTHERS)
    seconds = {"stop": rng.uniform(0.3, 1.5), "pause": rng.uniform(0.1, 1.0), "error": rng.choice((0.0, 0.5, 2.0))}
    code = rng.choice(_CODES) if action == "error" else ""
    return Fault(kind, point, rng.choice((1, 1, 2, 3, 5)), action, seconds.get(action, 0.0), code)


def _push(rng: Random, *, repeat: bool) -> Push:
    slices = rng.randint(3, 8)
    return Push(
        slices=slices,
        tool="storescu" if repeat and rng.random() < 0.5 else "light",
        repeat=repeat,
        cut_after=rng.randint(1, slices),
        ending=rng.choice(("release", "abort", "reset", "half")),
        delay_s=rng.uniform(0.0, 0.5),
    )
