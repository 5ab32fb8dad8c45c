"""What routing decides, and why."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node.contracts import InputSet


@dataclass(frozen=True)
class SeriesExplanation:
    """Why a series was taken, or why no rule took it.

    Attributes:
        series_instance_uid: the series.
        taken: whether a rule took it.
        rule: the rule that took it, None when none did.
        role: the role it plays, several joined by a comma; None when not taken.
        reasons: sentences that name rules, tags and cues, never header values of a patient.
    """

    series_instance_uid: str
    taken: bool
    rule: str | None
    role: str | None
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class RoutingResult:
    """Outcome of routing.

    Attributes:
        input_sets: what to correct; each becomes one job.
        explanations: at least one for each series, by Series Instance UID.
    """

    input_sets: tuple[InputSet, ...]
    explanations: tuple[SeriesExplanation, ...]
