"""Whether a peer breaks off because of an instance, or because of itself."""

from __future__ import annotations

from typing import Final

_MOST_REMEMBERED: Final = 1000


class Witness:
    """What one peer took, and at which instances it broke off; of this process's lifetime only.

    A peer that hangs, aborts or hangs up is in trouble, and that is no fault of what it was just given: an attempt is
    charged only where the same instance made it break off before, it took others since, and this time the instance came
    first in an association of its own, so that nothing before it can be the cause.
    """

    def __init__(self) -> None:
        self._taken = 0
        self._broken: dict[str, int] = {}

    def took(self, sop_instance_uid: str) -> None:
        """The peer has stored this instance."""
        self._taken += 1
        self._broken.pop(sop_instance_uid, None)

    def took_others_since(self, sop_instance_uid: str) -> bool:
        """Whether something went through after the peer last broke off at this instance."""
        return self._broken.get(sop_instance_uid, self._taken) < self._taken

    def broke_off(self, sop_instance_uid: str, *, first: bool) -> bool:
        """The peer broke off at this instance; whether the instance is to blame.

        Args:
            sop_instance_uid: which it was given.
            first: nothing was given before it on this association.
        """
        to_blame = first and self.took_others_since(sop_instance_uid)
        self._broken.pop(sop_instance_uid, None)
        self._broken[sop_instance_uid] = self._taken
        if len(self._broken) > _MOST_REMEMBERED:
            del self._broken[next(iter(self._broken))]
        return to_blame
