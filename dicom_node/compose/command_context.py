"""All that the node hands to commands and demo studies of other packages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from dicom_node import logs
from dicom_node.contracts import Corrector, CorrectorSpec, InputSet, ParameterValue, ReadImage
from dicom_node.contracts.command import NO_PARAMETERS
from dicom_node.dicom.context import DicomCommandContext
from dicom_node.dicom.found_images import image_of, label_of, listed, scan_dicom
from dicom_node.dicom.reading import read_volume
from dicom_node.dicom.scan import Rejected
from dicom_node.errors import InputError, UnusableSeries
from dicom_node.planning import series_uids
from dicom_node.plugins.catalogue import Catalogue, discover
from dicom_node.plugins.loader import build
from dicom_node.plugins.parameters import resolve
from dicom_node.plugins.weights import with_weights
from dicom_node.routing.router import RoutingResult, route_for

log = logs.get("compose.command_context")


class NodeCommandContext(DicomCommandContext):
    """`dicom_node.contracts.CommandContext`: images as the node reads and writes them, correctors as its worker does.

    Installed correctors are looked up once, when first asked for.
    """

    @cached_property
    def _catalogue(self) -> Catalogue:
        return discover()

    def read_roles(self, inputs: Sequence[Path], corrector: str) -> list[Mapping[str, ReadImage]]:
        """Read the input sets of a corrector, by the rules that ship; a set that cannot be read is logged.

        Raises:
            InputError: nothing that the corrector takes; the message says why.
            RequestError: the corrector is not installed, or an input does not exist.
            StorageFailed: the disk failed.
        """
        spec = self.spec(corrector)
        found, nifti = scan_dicom(inputs)
        routed = route_for(found.series, spec, ())
        sets: list[Mapping[str, ReadImage]] = []
        reasons = []
        for number, input_set in enumerate(routed.input_sets, start=1):
            try:
                sets.append(_read_set(input_set, spec, found.rejected))
            except InputError as error:
                log.warning("input_set_left_out", corrector=corrector, number=number, reason=str(error))
                reasons.append(str(error))
        if not sets:
            reasons += _untaken(routed) + [r.reason for r in found.rejected]
            reasons += [f"{path}: NIfTI does not tell its role" for path in nifti]
            raise InputError(f"nothing that {corrector} takes was found: " + (listed(reasons) or "no DICOM files"))
        return sets

    def spec(self, corrector: str) -> CorrectorSpec:
        """Spec of an installed corrector.

        Raises:
            RequestError: it is not installed; the message says which are.
        """
        return self._catalogue.installed(corrector)

    def build(
        self,
        corrector: str,
        method: str,
        *,
        device: str = "auto",
        parameters: Mapping[str, ParameterValue] = NO_PARAMETERS,
        weights: Path | None = None,
    ) -> Corrector:
        """Build a corrector as the node's worker does: weights are verified first.

        Raises:
            RequestError: no such corrector, method or parameter.
            PluginError: it cannot be built.
            WeightsError: the package is missing, altered or of another architecture.
        """
        spec = self.spec(corrector)
        name, resolved = resolve(spec, method, parameters)
        return build(spec if weights is None else with_weights(spec, name, weights), name, device, resolved)


def _read_set(input_set: InputSet, spec: CorrectorSpec, rejected: Sequence[Rejected]) -> Mapping[str, ReadImage]:
    uids = series_uids(input_set)
    for bad in rejected:
        if bad.series_instance_uid in uids:
            raise UnusableSeries(
                f"series {bad.series_instance_uid} holds {bad.file}, which cannot be used: {bad.reason}"
            )
    images = {}
    for role, instances in sorted(input_set.roles.items()):
        first = instances[0].header
        loaded = read_volume(instances, spec.inputs[role])
        images[role] = image_of(loaded, label_of(first.series_instance_uid), first.patient_key)
    return images


def _untaken(routed: RoutingResult) -> list[str]:
    return [
        f"series {e.series_instance_uid}: {reason}"
        for e in routed.explanations
        if not e.taken
        for reason in e.reasons[:1]
    ]
