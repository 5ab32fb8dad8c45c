"""Configuration: one YAML file, parsed once, frozen."""

from dicom_node.config.loading import load_config, load_rules
from dicom_node.config.rules import Rule
from dicom_node.config.sections import (
    AccessSection,
    CallerSection,
    Config,
    IntakeSection,
    JobsSection,
    NodeSection,
    NotifySection,
    PeerSection,
    RetentionSection,
    TlsClientSection,
    TlsServerSection,
)

__all__ = [
    "AccessSection",
    "CallerSection",
    "Config",
    "IntakeSection",
    "JobsSection",
    "NodeSection",
    "NotifySection",
    "PeerSection",
    "RetentionSection",
    "Rule",
    "TlsClientSection",
    "TlsServerSection",
    "load_config",
    "load_rules",
]
