"""Signs of life that a child gives its supervisor, in shared memory."""

from __future__ import annotations

from multiprocessing.context import SpawnContext


class Life:
    """Whether a child is ready, and whether its loop turns.

    Without any lock, unlike an Event: a child that is killed in the middle of a sign leaves nothing behind that
    somebody could wait for.
    """

    def __init__(self, context: SpawnContext) -> None:
        self._signs = context.RawArray("Q", 2)

    def set(self) -> None:
        """The child can do its work."""
        self._signs[0] = 1

    def is_set(self) -> bool:
        """Whether it can."""
        return bool(self._signs[0])

    def beat(self) -> None:
        """The child's loop has turned, or the thread that keeps its lease has."""
        self._signs[1] += 1

    @property
    def beats(self) -> int:
        """How often so far; two threads that beat at once may count as one."""
        return int(self._signs[1])


class Watch:
    """For how long a child has been silent, as the supervisor saw it.

    Only time during which the supervisor itself was awake counts: after a pause of the whole machine every child
    looks silent.
    """

    _LONGEST_TURN_S = 1.0

    def __init__(self, life: Life, now: float) -> None:
        """Begin to watch.

        Args:
            life: the child's signs.
            now: monotonic time [s].
        """
        self._life = life
        self._looked_at = now
        self._beats = 0
        self._silent_s = 0.0

    def silent_s(self, now: float) -> float:
        """Time without a beat, 0 for a child that has never given one [s]; to be asked often."""
        turn = min(now - self._looked_at, self._LONGEST_TURN_S)
        self._looked_at = now
        beats = self._life.beats
        self._silent_s = self._silent_s + turn if beats and beats == self._beats else 0.0
        self._beats = beats
        return self._silent_s
