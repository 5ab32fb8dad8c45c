"""Instances that a node derived, read back: how each was made, and from which sources."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.dataset import Dataset

from dicom_node.contracts import InstanceHeader, ParameterValue
from dicom_node.dicom import private_block as block
from dicom_node.dicom.parsing import PARSE_ERRORS, quiet
from dicom_node.dicom.sources import header_of
from dicom_node.errors import InputError, UnreadableFile

REPORT = "report"
"""Role of the structured report."""
_OF_IMAGES = ("SourceImageSequence",)
_OF_COMPANIONS = (
    "ReferencedSeriesSequence",
    "StudiesContainingOtherReferencedInstancesSequence",
    "CurrentRequestedProcedureEvidenceSequence",
    "PertinentOtherEvidenceSequence",
    "PerFrameFunctionalGroupsSequence",
)
"""Where maps, masks and reports name the images they belong to (PS3.3 C.12.2, C.17.2.3, C.7.6.16.2.6)."""


@dataclass(frozen=True, order=True)
class Recipe:
    """What decides every pixel of a derived set, and the job that it belongs to; the same in all its instances.

    Attributes:
        corrector, corrector_version, method: who made it.
        weights_sha256: digest of the weights, empty for methods without.
        parameters_json: every parameter with its value, as JSON.
        input_digest: digest of all sources.
        device: kind of device, `cpu` or `cuda`.
        job_version: 1, and one more for each time that late images made the job anew.
    """

    corrector: str
    corrector_version: str
    method: str
    weights_sha256: str
    parameters_json: str
    input_digest: str
    device: str
    job_version: int

    @property
    def parameters(self) -> dict[str, ParameterValue]:
        """Every parameter with its value."""
        return dict(json.loads(self.parameters_json))


@dataclass(frozen=True)
class Derived:
    """One derived instance.

    Attributes:
        header: its header.
        role: input role of a corrected image, `map:NAME`, `mask:NAME` or `report`.
        recipe: how it was made.
        superseded: Series Instance UID that its series replaces, None in a first version.
        sources: SOP Instance UIDs of the images that it names as its sources.
        adapted_weights_sha256: digest of the weights that were fitted to the patient, empty where none were.
    """

    header: InstanceHeader
    role: str
    recipe: Recipe
    superseded: str | None
    sources: frozenset[str]
    adapted_weights_sha256: str = ""


def is_image(role: str) -> bool:
    """Whether an output is a corrected image; the others are maps, masks and the report."""
    return ":" not in role and role != REPORT


def read_derived(header: InstanceHeader) -> Derived:
    """Read the provenance of a derived instance.

    Raises:
        InputError: no node derived it, or its private block is gone or cannot be understood.
        UnreadableFile: the file is damaged or gone.
        StorageFailed: the disk failed.
    """
    uid, ref = header.sop_instance_uid, header.file
    dataset = header_of(ref)
    try:
        with quiet():
            found = block.read_block(dataset)
            if not found:
                why = "its private block is gone" if header.own_output else "it was not derived by this node's software"
                raise InputError(f"{ref}: instance {uid} has no provenance: {why}")
            recipe = _recipe(found)
            recipe.parameters  # noqa: B018  must be readable
            role = found[block.ROLE.name]
            sources = frozenset(_named(dataset, _OF_IMAGES if is_image(role) else _OF_COMPANIONS))
    except KeyError as error:
        raise InputError(f"{ref}: the private block of instance {uid} lacks {error}") from None
    except PARSE_ERRORS as error:
        raise UnreadableFile(f"{ref}: its provenance cannot be read ({type(error).__name__})") from None
    superseded, adapted = found.get(block.SUPERSEDED.name), found.get(block.ADAPTED_WEIGHTS.name, "")
    return Derived(header, role, recipe, superseded, sources, adapted)


def _recipe(found: dict[str, str]) -> Recipe:
    return Recipe(
        corrector=found[block.CORRECTOR.name],
        corrector_version=found[block.CORRECTOR_VERSION.name],
        method=found[block.METHOD.name],
        weights_sha256=found.get(block.WEIGHTS.name, ""),
        parameters_json=found[block.PARAMETERS.name],
        input_digest=found[block.INPUT_DIGEST.name],
        device=found[block.DEVICE.name],
        job_version=int(found[block.JOB_VERSION.name]),
    )


def _named(dataset: Dataset, keywords: tuple[str, ...]) -> Iterator[str]:
    for keyword in keywords:
        for item in dataset.get(keyword) or ():
            yield from _references(item)


def _references(item: Dataset) -> Iterator[str]:
    for element in item:
        if element.keyword == "ReferencedSOPInstanceUID":
            yield str(element.value)
        elif element.VR == "SQ":
            for inner in element.value:
                yield from _references(inner)
