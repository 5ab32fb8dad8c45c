"""What is written into every derived instance about where it came from."""

from __future__ import annotations

import functools
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType

from dicom_node.contracts.spec import CorrectorSpec, ParameterValue
from dicom_node.dicom.uids import UidFactory


@functools.cache
def node_version() -> str:
    """Version of the installed node."""
    return importlib.metadata.version("dicom-correction-node")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Facts of one job, in everything it derives.

    Two runs of one job with equal provenance write identical files; so nothing here may depend on the attempt.

    Attributes:
        spec: the corrector's spec.
        method: one of its methods.
        parameters: every parameter with its value, defaults included.
        weights_sha256: digest of `model.safetensors`, empty for methods without weights.
        input_digest: digest of all sources, independent of their order.
        created_at: when the job was created [UTC seconds]; dates everything derived.
        version: 1, and one more for each time that late images made the job anew.
        superseded_series: Series Instance UID of the previous version's series, by role of the output.
        device: kind of device that computed it, `cpu` or `cuda`.
        adapted_weights_sha256: digest of the weights that were fitted to the input, empty where none were. It follows
            from the rest, so UIDs do not hold it.
    """

    spec: CorrectorSpec
    method: str
    parameters: Mapping[str, ParameterValue]
    weights_sha256: str
    input_digest: str
    created_at: float
    version: int = 1
    superseded_series: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    device: str = "cpu"
    adapted_weights_sha256: str = ""

    @property
    def uids(self) -> UidFactory:
        """The factory of every UID of this derived set."""
        return UidFactory(
            input_digest=self.input_digest,
            corrector=self.spec.name,
            version=self.spec.version,
            method=self.method,
            weights_sha256=self.weights_sha256,
            parameters=self.parameters,
        )

    @property
    def synthetic(self) -> bool:
        """Whether the method makes content that was not measured: Synthetic Data (0008,001C)."""
        return self.method in self.spec.synthetic

    @property
    def parameters_json(self) -> str:
        """Parameters as canonical ASCII JSON."""
        return json.dumps(dict(self.parameters), sort_keys=True, separators=(",", ":"), ensure_ascii=True)

    @property
    def created_utc(self) -> str:
        """Creation as DICOM DT with its UTC offset (PS3.5 6.2)."""
        return datetime.fromtimestamp(self.created_at, UTC).strftime("%Y%m%d%H%M%S.%f+0000")

    def created_local(self, utc_offset: str | None) -> tuple[str, str]:
        """Creation as DICOM (DA, TM) in an instance's own time zone.

        Args:
            utc_offset: the instance's Timezone Offset From UTC (0008,0201), `+hhmm`; None or malformed means UTC.
        """
        zone = _zone(utc_offset)
        moment = datetime.fromtimestamp(self.created_at, zone)
        return moment.strftime("%Y%m%d"), moment.strftime("%H%M%S.%f")


def _zone(utc_offset: str | None) -> timezone:
    text = (utc_offset or "").strip()
    if len(text) != 5 or text[0] not in "+-" or not text[1:].isdigit():
        return UTC
    minutes = int(text[1:3]) * 60 + int(text[3:])
    if minutes >= 24 * 60:
        return UTC
    return timezone(timedelta(minutes=minutes if text[0] == "+" else -minutes))
