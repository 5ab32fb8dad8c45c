"""The one error tree.

Every error the node raises on purpose is a `NodeError`. Two class attributes tell the ledger what to do with it:

- `retryable`: the same attempt may succeed later without anyone changing anything.
- `infrastructure`: the fault lies around the job (peer, disk, database, lost process), so it must not consume
  the job's attempt budget.

Messages name the file or series and what to do. They never carry patient data: UIDs, tag keywords, numbers and
file paths are allowed, tag *values* such as names, IDs, dates and descriptions are not.
"""

from __future__ import annotations


class NodeError(Exception):
    """Base of everything the node raises on purpose."""

    retryable: bool = False
    infrastructure: bool = False

    @property
    def code(self) -> str:
        """Stable machine-readable name, e.g. `UnreadableFile`."""
        return type(self).__name__


class RequestError(NodeError):
    """The request itself is wrong (arguments, names): exit status 2."""


class ConfigError(RequestError):
    """The configuration is wrong. The message starts with `file:line:column:`."""


class InputError(NodeError):
    """The images given cannot be used."""


class UnreadableFile(InputError):
    """A file is not DICOM, is truncated, or cannot be parsed.

    Attributes:
        series_instance_uid: the series that it belongs to, None where the file does not tell: that series is not whole.
    """

    def __init__(self, message: str, series_instance_uid: str | None = None) -> None:
        super().__init__(message)
        self.series_instance_uid = series_instance_uid


class UnusableSeries(InputError):
    """A series is readable but cannot become a Volume: no pixels, colour, gaps, mixed orientations, missing tags."""


class TooLarge(InputError):
    """The images need more memory than a worker may use."""


class CorrectionRefused(InputError):
    """A corrector must not touch this input, and says why. Not a failure: the input passes through."""


class PluginError(NodeError):
    """A corrector plugin cannot be found, loaded or does not keep its contract."""


class WeightsError(PluginError):
    """A weights package is missing, altered or of another architecture."""


class CorrectorFailed(NodeError):
    """A corrector raised, or returned something that is no Correction."""

    retryable = True


class GuardViolation(NodeError):
    """A correction is not plausible: not finite, wrong shape, out of limits, or it changed what it must keep."""


class DerivationError(NodeError):
    """A correction cannot be written as valid DICOM."""


class StorageFull(NodeError):
    """The disk is full or below its watermark."""

    retryable = True
    infrastructure = True


class StorageFailed(NodeError):
    """The disk refused a read or write for another reason than being full."""

    retryable = True
    infrastructure = True


class LedgerError(NodeError):
    """The database cannot be reached, is locked, or is of another version."""

    retryable = True
    infrastructure = True


class IllegalTransition(NodeError):
    """A job or delivery was asked to change into a state it cannot reach from where it is."""


class LeaseLost(NodeError):
    """The lease on a job expired or went to another worker; the result must be thrown away."""

    infrastructure = True


class WorkerLost(NodeError):
    """A worker process died while it held a job."""

    retryable = True
    infrastructure = True


class DeliveryError(NodeError):
    """A peer did not take what was sent."""

    retryable = True


class PeerUnreachable(DeliveryError):
    """No association could be made: refused connection, rejected, aborted, timed out."""

    infrastructure = True


class PeerBusy(DeliveryError):
    """The peer is out of resources (0xA7xx): it has no fault with what was sent, only not now."""

    infrastructure = True


class InstanceNotTaken(DeliveryError):
    """The peer breaks off each time it is given this instance, while it takes others."""


class PeerRefused(DeliveryError):
    """The peer answered an instance with a failure status, or takes no context we can offer."""
