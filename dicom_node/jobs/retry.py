"""When a failed job or delivery is tried again."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from dicom_node.errors import NodeError

_LARGEST_EXPONENT = 32


@dataclass(frozen=True)
class Verdict:
    """What to do after a failure.

    Attributes:
        again: try again, else the work is dead.
        charged: the failure counts against the attempt budget.
        delay_s: wait before the next attempt [s].
    """

    again: bool
    charged: bool
    delay_s: float


@dataclass(frozen=True)
class RetryPolicy:
    """Bounded attempts with exponential backoff and jitter.

    Infrastructure errors (peer, disk, database) back off too but never use up the attempts. Lost workers have a
    bound of their own: an input that kills its worker each time must not do so for ever.

    Attributes:
        max_attempts: charged failures after which the work is dead.
        backoff_s: longest first wait [s]; doubles with each further failure.
        max_backoff_s: longest wait of all [s].
        max_lost: workers that may die over one job.
        random: source of the jitter.
    """

    max_attempts: int = 3
    backoff_s: float = 5.0
    max_backoff_s: float = 600.0
    max_lost: int = 5
    random: Random = field(default_factory=Random, compare=False, repr=False)

    def after_error(self, error: NodeError, *, attempts: int, setbacks: int) -> Verdict:
        """Judge an error, given the charged failures and the infrastructure failures in a row before it."""
        if error.infrastructure:
            return Verdict(True, False, self.backoff(setbacks + 1))
        if not error.retryable:
            return Verdict(False, True, 0.0)
        return Verdict(attempts + 1 < self.max_attempts, True, self.backoff(attempts + 1))

    def after_loss(self, *, lost: int) -> Verdict:
        """Judge the death of a worker, given the deaths before it. The first one costs no wait: a restart resumes."""
        return Verdict(lost + 1 < self.max_lost, False, self.backoff(lost) if lost else 0.0)

    def backoff(self, failures: int) -> float:
        """Wait after the n-th failure in a row [s]: half to all of the exponential bound, so that waiters spread."""
        bound = min(self.max_backoff_s, self.backoff_s * 2.0 ** min(failures - 1, _LARGEST_EXPONENT))
        return bound * self.random.uniform(0.5, 1.0)
