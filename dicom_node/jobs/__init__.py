"""The durable job ledger."""

from dicom_node.jobs.ledger import JobLedger
from dicom_node.jobs.model import (
    Delivery,
    DeliveryLease,
    Job,
    JobEvent,
    JobInput,
    Lease,
    NewJob,
    OutputInstance,
    OutputSeries,
)
from dicom_node.jobs.retry import RetryPolicy
from dicom_node.jobs.states import DELIVERY_TRANSITIONS, JOB_TRANSITIONS, DeliveryState, JobState

__all__ = [
    "DELIVERY_TRANSITIONS",
    "JOB_TRANSITIONS",
    "Delivery",
    "DeliveryLease",
    "DeliveryState",
    "Job",
    "JobEvent",
    "JobInput",
    "JobLedger",
    "JobState",
    "Lease",
    "NewJob",
    "OutputInstance",
    "OutputSeries",
    "RetryPolicy",
]
