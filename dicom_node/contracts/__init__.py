"""Public plugin API: numpy and the standard library only."""

from dicom_node.contracts.command import (
    Advance,
    CommandContext,
    CommandOutput,
    CommandRunner,
    CommandSpec,
    DemoStudy,
    DemoStudyMaker,
    FoundImage,
    FoundImages,
    LeftOut,
    ReadImage,
)
from dicom_node.contracts.corrector import Correction, Corrector, CorrectorFactory, Mask, ParameterMap
from dicom_node.contracts.geometry import Geometry
from dicom_node.contracts.headers import FileRef, InputSet, InstanceHeader, RoleInstance, SeriesView
from dicom_node.contracts.spec import (
    API_VERSION,
    Accepts,
    CorrectorSpec,
    Limits,
    Parameter,
    ParameterValue,
    WeightsRef,
)
from dicom_node.contracts.volume import AXES, BoolArray, FloatArray, TagValue, Units, Volume
from dicom_node.errors import CorrectionRefused

__all__ = [
    "API_VERSION",
    "AXES",
    "Accepts",
    "Advance",
    "BoolArray",
    "CommandContext",
    "CommandOutput",
    "CommandRunner",
    "CommandSpec",
    "Correction",
    "CorrectionRefused",
    "Corrector",
    "CorrectorFactory",
    "CorrectorSpec",
    "DemoStudy",
    "DemoStudyMaker",
    "FileRef",
    "FloatArray",
    "FoundImage",
    "FoundImages",
    "Geometry",
    "InputSet",
    "InstanceHeader",
    "LeftOut",
    "Limits",
    "Mask",
    "Parameter",
    "ParameterMap",
    "ParameterValue",
    "ReadImage",
    "RoleInstance",
    "SeriesView",
    "TagValue",
    "Units",
    "Volume",
    "WeightsRef",
]
