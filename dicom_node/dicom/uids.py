"""Deterministic UIDs: the same sources and method always give the same derived instances."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from dicom_node.contracts.spec import ParameterValue


def uid_from(*parts: object) -> str:
    """Hash JSON-able parts to a UID under the UUID root `2.25` (PS3.5 B.2).

    The first 128 bits of a SHA-256 over canonical JSON, marked as a version 8 UUID (RFC 9562), as a decimal number:
    at most 44 characters and never a leading zero.
    """
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    raw = bytearray(hashlib.sha256(canonical.encode("ascii")).digest()[:16])
    raw[6] = (raw[6] & 0x0F) | 0x80
    raw[8] = (raw[8] & 0x3F) | 0x80
    return f"2.25.{uuid.UUID(bytes=bytes(raw)).int}"


@dataclass(frozen=True, kw_only=True)
class UidFactory:
    """Makes every UID of one derived set.

    Attributes:
        input_digest: digest of all sources, independent of their order.
        corrector: corrector name.
        version: corrector version.
        method: method name.
        weights_sha256: digest of the weights, empty for methods without weights.
        parameters: every parameter with its value.
    """

    input_digest: str
    corrector: str
    version: str
    method: str
    weights_sha256: str
    parameters: Mapping[str, ParameterValue]

    def series(self, name: str) -> str:
        """Series Instance UID of the output called `name` (role, `map:NAME`, `mask:NAME`, `report`)."""
        return self._uid("series", name)

    def instance(self, name: str, index: int) -> str:
        """SOP Instance UID of instance `index` of that series."""
        return self._uid("instance", name, index)

    def other(self, purpose: str, name: str) -> str:
        """A UID for something inside an instance, e.g. a dimension organization or a tracked region."""
        return self._uid("other", purpose, name)

    def device(self) -> str:
        """Device UID of the algorithm: new for every version, method and set of weights, whatever the input."""
        return uid_from("device", self.corrector, self.version, self.method, self.weights_sha256)

    def _uid(self, *what: object) -> str:
        parameters = {name: [type(value).__name__, value] for name, value in self.parameters.items()}
        method = (self.corrector, self.version, self.method, self.weights_sha256, parameters)
        return uid_from("output", self.input_digest, *method, *what)
