"""The sentences of the notices: what happened, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

from dicom_node.jobs.model import Job
from dicom_node.jobs.waiting import PeerQueue
from dicom_node.notices.model import Event, Notice, Severity


def dead_job(job: Job) -> Notice:
    """A job has failed for good."""
    return Notice(
        event=Event.JOB_DEAD,
        severity=Severity.ERROR,
        reason=job.error or "the job failed for good",
        action=f"`dicom-node jobs show {job.id}` tells more; mend the cause, then `dicom-node jobs retry {job.id}`",
        job=job.id,
        route=job.route,
        corrector=job.corrector,
        series=_series(job),
        code=job.error_code,
    )


def dead_delivery(job: Job, peer: str, error: str | None, code: str | None) -> Notice:
    """A peer has refused what was sent for good."""
    return Notice(
        event=Event.DELIVERY_DEAD,
        severity=Severity.ERROR,
        reason=error or "the peer did not take what was sent",
        action=f"ask who runs the peer why; `dicom-node jobs retry {job.id}` then sends what is missing",
        job=job.id,
        peer=peer,
        route=job.route,
        corrector=job.corrector,
        series=_series(job),
        code=code,
    )


def peer_away(queue: PeerQueue, for_s: float) -> Notice:
    """A peer has taken nothing for so long [s]."""
    return Notice(
        event=Event.PEER_UNREACHABLE,
        severity=Severity.ERROR,
        reason=f"the peer has taken nothing for {for_s / 60:.0f} minutes; deliveries that wait for it: {queue.waiting}",
        action="check the peer, the network and the AE titles of both sides; nothing is lost, sending goes on",
        peer=queue.peer,
        count=queue.waiting,
    )


def peer_back(queue: PeerQueue) -> Notice:
    """It takes images again, or what waited for it was cancelled."""
    reason = "the peer takes images again" if queue.unreachable_since is None else "nothing waits for the peer any more"
    return Notice(Event.PEER_BACK, Severity.INFO, reason, "none", peer=queue.peer)


def set_aside(reasons: Sequence[str]) -> Notice:
    """Files have gone to quarantine, each for a reason."""
    different = list(dict.fromkeys(reasons))
    more = f"; other reasons: {len(different) - 1}" if len(different) > 1 else ""
    return Notice(
        event=Event.QUARANTINED,
        severity=Severity.WARNING,
        reason=f"{different[0]}{more}",
        action="the files lie in quarantine/ under node.data_dir; ask whoever sent them to send the images again",
        count=len(reasons),
    )


def disk_low(free_mb: float, wanted_mb: float) -> Notice:
    """Less is free than the node wants [MB]."""
    return Notice(
        event=Event.DISK_LOW,
        severity=Severity.ERROR,
        reason=f"{free_mb:.0f} MB are free, node.min_free_mb is {wanted_mb:g}: senders are answered 0xA700",
        action="free space on the disk of node.data_dir, or set `retention`; senders try again by themselves",
    )


def disk_ok(free_mb: float) -> Notice:
    """Enough is free again [MB]."""
    return Notice(Event.DISK_OK, Severity.INFO, f"{free_mb:.0f} MB are free: images are taken again", "none")


def process_dying(child: str, deaths: int) -> Notice:
    """A process dies again and again."""
    return Notice(
        event=Event.PROCESS_DYING,
        severity=Severity.ERROR,
        reason=f"the process died {deaths} times in a row, each time soon after its start",
        action="the node's log says why (process_failed, process_died); it is started again all the time",
        child=child,
        count=deaths,
    )


def route_unusable(route: str, corrector: str, reason: str, code: str) -> Notice:
    """A rule asks for what is not installed here, or does not work."""
    return Notice(
        event=Event.ROUTE_UNUSABLE,
        severity=Severity.WARNING,
        reason=reason,
        action="`dicom-node check` tells more; install what is missing and restart the node, or take the rule out",
        route=route,
        corrector=corrector,
        code=code,
    )


def plugin_broken(corrector: str) -> Notice:
    """An installed corrector cannot be loaded."""
    return Notice(
        event=Event.PLUGIN_BROKEN,
        severity=Severity.WARNING,
        reason="the installed corrector cannot be loaded",
        action="`dicom-node check` says why; mend or remove its package and restart the node",
        corrector=corrector,
    )


def _series(job: Job) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.series_instance_uid for one in job.inputs))
