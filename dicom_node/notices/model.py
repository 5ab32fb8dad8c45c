"""A notice, and the document that the webhook gets."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from dicom_node.database.values import dump


class Event(StrEnum):
    """What happened; `docs/operations.md` lists what each document holds."""

    JOB_DEAD = "job_dead"
    DELIVERY_DEAD = "delivery_dead"
    PEER_UNREACHABLE = "peer_unreachable"
    PEER_BACK = "peer_back"
    DISK_LOW = "disk_low"
    DISK_OK = "disk_ok"
    PROCESS_DYING = "process_dying"
    QUARANTINED = "quarantined"
    ROUTE_UNUSABLE = "route_unusable"
    PLUGIN_BROKEN = "plugin_broken"


LASTING = (Event.PEER_UNREACHABLE, Event.DISK_LOW, Event.ROUTE_UNUSABLE, Event.PLUGIN_BROKEN)
"""Conditions: raised once while they last, and again when they come back."""


class Severity(StrEnum):
    """How soon somebody should look."""

    ERROR = "error"
    """Images are not corrected, not sent or soon not taken."""
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True)
class Notice:
    """Something that a person should know. Holds no patient data: UIDs, names of the configuration, codes, counts.

    Attributes:
        event: what happened.
        severity: how bad it is.
        reason: why, in a sentence.
        action: what to do about it.
        job: job id.
        peer: name of the peer.
        route: name of the rule.
        corrector: name of the corrector.
        child: name of the process, e.g. `worker-0`.
        series: Series Instance UIDs of the input.
        code: code of the error.
        count: how many it speaks of, None for one.
    """

    event: Event
    severity: Severity
    reason: str
    action: str
    job: str | None = None
    peer: str | None = None
    route: str | None = None
    corrector: str | None = None
    child: str | None = None
    series: tuple[str, ...] = ()
    code: str | None = None
    count: int | None = None

    def facts(self) -> dict[str, object]:
        """What it is about, without what does not apply."""
        named = {
            "job": self.job,
            "peer": self.peer,
            "route": self.route,
            "corrector": self.corrector,
            "child": self.child,
            "series": list(self.series) or None,
            "code": self.code,
            "count": self.count,
        }
        return {name: value for name, value in named.items() if value is not None}

    def document(self, node: str, now: float) -> str:
        """The JSON document for the webhook.

        Args:
            node: AE title of the node.
            now: UTC [s].
        """
        return dump(
            {
                "id": uuid.uuid4().hex,
                "event": self.event,
                "severity": self.severity,
                "raised_at": datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
                "node": node,
                "reason": self.reason,
                "action": self.action,
                **self.facts(),
            }
        )
