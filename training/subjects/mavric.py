"""The training side of `mavric`."""

from __future__ import annotations

from pathlib import Path


class MavricSubject:
    """See `training.subject.Subject`."""

    corrector: str = "mavric"

    @property
    def default_recipe(self) -> Path:
        """Recipe of `train`."""
        return Path(__file__).parents[1] / "recipes" / "mavric" / "best.yaml"


SUBJECT = MavricSubject()
