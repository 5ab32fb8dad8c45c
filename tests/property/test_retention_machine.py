"""Random interleavings of senders, routing, work, retention, its deaths and the clock: nothing goes too early."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dicom_node import faults
from dicom_node.database import Database

sys.path.append(str(Path(__file__).parents[1] / "unit" / "keeping"))
from keeping_site import DAY_S, START, make_site, study

POINTS = ("keeper.marked", "keeper.unlinked", "keeper.synced", "keeper.forgotten")
SLICES = 3


class Death(BaseException):
    """What `kill -9` is to a test inside one process."""


class RetentionMachine(RuleBasedStateMachine):
    """A site with three studies of two patients."""

    @initialize()
    def begin(self):
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name) / "var"
        folder.mkdir()
        self.site = make_site(folder, Database.open(f"sqlite:///{folder}/node.sqlite"))
        self.studies = [study(number, SLICES, patient=number // 2) for number in range(3)]
        self.keeper = self.site.retention()
        self.now = self.latest = START
        self.held: dict[str, int] = {}
        self.last: dict[str, float] = {}

    def teardown(self):
        faults.arm(None)
        if hasattr(self, "site"):
            self.settle()
            self.site.database.close()
            self._folder.cleanup()

    @rule(number=st.integers(0, 2), frames=st.sets(st.integers(0, SLICES - 1), min_size=1))
    def push(self, number, frames):
        one = self.studies[number]
        self.site.push(one, self.now, sorted(frames))
        for frame in frames:
            self.last[one.sop_instance_uid(frame)] = self.now

    @rule()
    def route(self):
        self.site.route(self.now)
        self.now += DAY_S / 50
        self.latest = max(self.latest, self.now)

    @rule(number=st.integers(0, 2), end=st.sampled_from(["delivered", "dead", "delivery dead", "refused", "given up"]))
    def work(self, number, end):
        one = self.studies[number]
        if one.study_instance_uid in self.held or not self.site.holds(one):
            return
        self.site.job(one, end=end, now=self.now)
        self.held[one.study_instance_uid] = int("dead" in end)

    @rule(days=st.sampled_from([0.5, 4.0, 11.0, -3.0]))
    def wait(self, days):
        self.now += days * DAY_S
        self.latest = max(self.latest, self.now)

    @rule(steps=st.integers(1, 4))
    def keep(self, steps):
        for _ in range(steps):
            self.keeper.step(self.now)

    @rule(point=st.sampled_from(POINTS))
    def keep_and_die(self, point):
        def die(reached):
            if reached == point:
                raise Death

        faults.arm(die)
        try:
            for _ in range(4):
                self.keeper.step(self.now)
        except Death:
            self.keeper = self.site.retention()
        finally:
            faults.arm(None)

    @rule(number=st.integers(0, 2), frame=st.integers(0, SLICES - 1), point=st.sampled_from(POINTS))
    def push_in_the_middle(self, number, frame, point):
        """An image comes while the keeper is at a point, or as soon as it lets go."""

        def come(reached):
            if reached == point:
                faults.arm(None)
                self.push(number, {frame})

        if point == "keeper.unlinked":
            return
        faults.arm(come)
        for _ in range(3):
            self.keeper.step(self.now)
        faults.arm(None)

    @invariant()
    def what_came_lately_is_here(self):
        """Nothing leaves within its days, by the furthest that the clock has ever been."""
        if not hasattr(self, "site"):
            return
        present = self.site.instances()
        for uid, at in self.last.items():
            if self.latest - at < 10 * DAY_S:
                assert uid in present, "too early"
                assert self.site.store.holds(uid)

    def settle(self):
        """In the end everything routed and not held by dead work leaves, and nothing else."""
        self.now = max([self.now, *self.last.values()]) + DAY_S
        self.site.route(self.now)
        self.now += 100 * DAY_S
        self.keeper = self.site.retention()
        self.site.keep(self.now, self.keeper)
        held = {uid for uid, is_held in self.held.items() if is_held}
        for one in self.studies:
            if one.study_instance_uid not in held:
                assert self.site.lacks(one)
            else:
                assert self.site.holds(one)
        self.site.is_consistent()


TestRetentionMachine = RetentionMachine.TestCase
TestRetentionMachine.settings = settings(
    max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
