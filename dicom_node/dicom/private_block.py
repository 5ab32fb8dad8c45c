"""Our private block: provenance for machines, in every derived instance. Listed in docs/conformance.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from dicom_node.dicom.provenance import Provenance, node_version
from dicom_node.dicom.tags import PRIVATE_CREATOR, PRIVATE_GROUP
from dicom_node.dicom.text import ascii_text

LAYOUT_VERSION = "1"


@dataclass(frozen=True)
class Element:
    """One element of the block.

    Attributes:
        offset: element byte, `(0099,xx<offset>)`.
        vr: value representation.
        name: what it holds.
    """

    offset: int
    vr: str
    name: str


LAYOUT = Element(0x00, "LO", "Layout version of this block")
CORRECTOR = Element(0x01, "LO", "Corrector")
CORRECTOR_VERSION = Element(0x02, "LO", "Corrector version")
METHOD = Element(0x03, "LO", "Method")
WEIGHTS = Element(0x04, "LO", "SHA-256 of the weights; absent for methods without")
PARAMETERS = Element(0x05, "UT", "Parameters, as JSON")
INPUT_DIGEST = Element(0x06, "LO", "SHA-256 over all source instances")
JOB_VERSION = Element(0x07, "IS", "Version of the job: above 1, late images made it anew")
SUPERSEDED = Element(0x08, "UI", "Series Instance UID that this series replaces; absent in a first version")
CHANGED = Element(0x09, "CS", "YES or NO: whether any pixel of this instance differs from its source")
WARNINGS = Element(0x0A, "UT", "Warnings, one a line; absent when there are none")
ROLE = Element(0x0B, "LO", "Output: input role, map:NAME, mask:NAME or report")
DEVICE = Element(0x0C, "LO", "Kind of device that computed it: cpu or cuda")
NODE_VERSION = Element(0x0D, "LO", "Version of the node")
SYNTHETIC = Element(0x0E, "CS", "YES or NO: whether the method counts as Synthetic Data (0008,001C)")
ADAPTED_WEIGHTS = Element(0x0F, "LO", "SHA-256 of the weights fitted to this patient; absent where none were")

ELEMENTS = (
    LAYOUT,
    CORRECTOR,
    CORRECTOR_VERSION,
    METHOD,
    WEIGHTS,
    PARAMETERS,
    INPUT_DIGEST,
    JOB_VERSION,
    SUPERSEDED,
    CHANGED,
    WARNINGS,
    ROLE,
    DEVICE,
    NODE_VERSION,
    SYNTHETIC,
    ADAPTED_WEIGHTS,
)


def add_block(
    dataset: Dataset, provenance: Provenance, role: str, *, changed: bool | None, warnings: Sequence[str]
) -> None:
    """Add the block to a derived instance, in the first free block of the group.

    Args:
        dataset: the derived instance.
        provenance: facts of the job.
        role: output name.
        changed: whether any pixel differs from the source; None for what is no corrected image.
        warnings: sentences of the corrector.
    """
    superseded = provenance.superseded_series.get(role)
    values: dict[Element, str | None] = {
        LAYOUT: LAYOUT_VERSION,
        CORRECTOR: ascii_text(provenance.spec.name, 64),
        CORRECTOR_VERSION: ascii_text(provenance.spec.version, 64),
        METHOD: ascii_text(provenance.method, 64),
        WEIGHTS: provenance.weights_sha256 or None,
        PARAMETERS: provenance.parameters_json,
        INPUT_DIGEST: ascii_text(provenance.input_digest, 64),
        JOB_VERSION: str(provenance.version),
        SUPERSEDED: superseded,
        CHANGED: None if changed is None else ("YES" if changed else "NO"),
        WARNINGS: "\r\n".join(ascii_text(w) for w in warnings) or None,
        ROLE: ascii_text(role, 64),
        DEVICE: ascii_text(provenance.device, 64),
        SYNTHETIC: "YES" if provenance.synthetic else "NO",
        NODE_VERSION: ascii_text(node_version(), 64),
        ADAPTED_WEIGHTS: provenance.adapted_weights_sha256 or None,
    }
    block = dataset.private_block(PRIVATE_GROUP, PRIVATE_CREATOR, create=True)
    for element, value in values.items():
        if value is not None:
            block.add_new(element.offset, element.vr, value)


def read_block(dataset: Dataset) -> dict[str, str]:
    """Values of our block by element name, empty when the instance is not ours."""
    try:
        block = dataset.private_block(PRIVATE_GROUP, PRIVATE_CREATOR)
    except KeyError:
        return {}
    return {e.name: _text(block[e.offset].value) for e in ELEMENTS if e.offset in block}


def _text(value: object) -> str:
    """A value as text; in implicit VR, as some archives store it, nobody knows its VR and it comes as bytes."""
    return value.decode("ascii", "replace").strip(" \0") if isinstance(value, bytes) else str(value)
