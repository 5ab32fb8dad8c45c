"""Rules and installed correctors."""

from __future__ import annotations

from pathlib import Path

from dicom_node.config import Config, load_config
from dicom_node.config.rules import Rule
from dicom_node.planning import Planner
from dicom_node.plugins.catalogue import discover
from dicom_node.routing.defaults import default_rules
from dicom_node.routing.keywords import check_keywords


def load_checked(path: Path) -> Config:
    """Read a configuration whose rules can hold: as `load_config`, and every DICOM keyword exists.

    Raises:
        ConfigError: with file, line and column.
    """
    config = load_config(path)
    check_keywords(config.routes, path)
    return config


def rules_of(config: Config) -> tuple[Rule, ...]:
    """The site's rules, then the default ones unless they are switched off."""
    return config.routes + (default_rules() if config.defaults else ())


def make_planner(config: Config) -> Planner:
    """Routing for this configuration and what is installed."""
    return Planner(rules_of(config), discover().specs, config.default_send_to)
