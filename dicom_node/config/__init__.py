"""Configuration: one YAML file, parsed once, frozen."""

from dicom_node.config.loading import load_config, load_rules
from dicom_node.config.rules import Rule
from dicom_node.config.sections import Config, IntakeSection, JobsSection, NodeSection, PeerSection

__all__ = ["Config", "IntakeSection", "JobsSection", "NodeSection", "PeerSection", "Rule", "load_config", "load_rules"]
