"""What the ledger keeps, as frozen values: jobs, leases, outputs, deliveries, events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from dicom_node.contracts.headers import FileRef
from dicom_node.contracts.spec import ParameterValue
from dicom_node.jobs.states import DeliveryState, JobState


@dataclass(frozen=True)
class JobInput:
    """One instance that a job works on.

    Attributes:
        role: role in the corrector's spec.
        sop_instance_uid, series_instance_uid: as in the file.
        file: where the bytes lie.
        sha256: digest of the whole file; the worker refuses a file that has changed since.
        captures: what the rule captured for it, e.g. `polarity`.
    """

    role: str
    sop_instance_uid: str
    series_instance_uid: str
    file: FileRef
    sha256: str
    captures: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class NewJob:
    """A job to be submitted.

    Attributes:
        route: name of the rule that asked for it.
        corrector: corrector name.
        method: method name, already resolved.
        parameters: resolved parameters.
        send_to: peer names.
        inputs: the instances.
        set_key: equal for all versions of a set: digest of route, corrector, method and series by role.
        input_digest: digest of exactly these inputs.
        recipe: digest of what else decides the result: corrector version, weights, parameters.
    """

    route: str
    corrector: str
    method: str
    parameters: Mapping[str, ParameterValue]
    send_to: tuple[str, ...]
    inputs: tuple[JobInput, ...]
    set_key: str
    input_digest: str
    recipe: str = ""


@dataclass(frozen=True)
class OutputInstance:
    """One derived instance in the job's outbox folder."""

    sop_instance_uid: str
    sop_class_uid: str
    file_name: str


@dataclass(frozen=True)
class OutputSeries:
    """One derived series.

    Attributes:
        role: input role of a corrected image, `map:NAME`, `mask:NAME` or `report`.
        series_instance_uid: of the derived series.
        sop_class_uids: distinct SOP classes of its instances.
        instances: the files.
    """

    role: str
    series_instance_uid: str
    sop_class_uids: tuple[str, ...]
    instances: tuple[OutputInstance, ...]


@dataclass(frozen=True)
class Job:
    """A job as it stands in the ledger; the fields of `NewJob` mean the same here.

    Attributes:
        id: opaque, also the name of its outbox folder.
        state: where it stands.
        version: 1, and one more each time the same set came back with other inputs.
        supersedes: id of the latest earlier version that has outputs, None when there is none.
        attempts: failed attempts that were charged to the budget.
        lost: workers that died over it since the last orderly answer.
        created_at, updated_at: UTC [s].
        not_before: not leased before this time, UTC [s].
        error, error_code: of the last failure, None after a success.
        reason: why it ended UNCHANGED, REFUSED or CANCELLED.
        outputs: derived series, empty before DERIVED.
        warnings: of the correction.
        metrics: quality figures of the derivation.
    """

    id: str
    state: JobState
    version: int
    supersedes: str | None
    route: str
    corrector: str
    method: str
    parameters: Mapping[str, ParameterValue]
    send_to: tuple[str, ...]
    inputs: tuple[JobInput, ...]
    set_key: str
    input_digest: str
    recipe: str
    attempts: int
    lost: int
    created_at: float
    updated_at: float
    not_before: float
    error: str | None
    error_code: str | None
    reason: str | None
    outputs: tuple[OutputSeries, ...]
    warnings: tuple[str, ...]
    metrics: Mapping[str, object]


@dataclass(frozen=True)
class Lease:
    """The right to work on a job until `expires_at` (UTC [s]); `token` grows with each lease of the job."""

    job: Job
    token: int
    expires_at: float


@dataclass(frozen=True)
class Delivery:
    """The outputs of one job on their way to one peer.

    Attributes:
        id: number of the delivery.
        job_id: its job; the files lie in `outbox/<job_id>/`.
        peer: peer name.
        state: where it stands.
        outputs: what is to be sent.
        statuses: last C-STORE status by SOP Instance UID; instances never answered are absent.
        attempts: failed attempts that were charged to the budget.
        not_before: not leased before this time, UTC [s].
        error, error_code: of the last failure.
        verified: how the arrival was verified, None before DONE.
    """

    id: int
    job_id: str
    peer: str
    state: DeliveryState
    outputs: tuple[OutputSeries, ...]
    statuses: Mapping[str, int]
    attempts: int
    not_before: float
    error: str | None
    error_code: str | None
    verified: str | None


@dataclass(frozen=True)
class DeliveryLease:
    """The right to work on a delivery until `expires_at` (UTC [s])."""

    delivery: Delivery
    token: int
    expires_at: float


@dataclass(frozen=True)
class JobEvent:
    """One line of a job's audit trail.

    Attributes:
        at: UTC [s].
        peer: the delivery's peer, None for the job itself.
        origin: state before, None for the submission.
        target: state after.
        code: stable name of what happened, e.g. an error's code, `Superseded`, `Replay`.
        message: for the operator; no patient data.
    """

    at: float
    peer: str | None
    origin: str | None
    target: str
    code: str
    message: str
