"""Rules and installed correctors."""

from __future__ import annotations

from dicom_node.config import Config
from dicom_node.config.rules import Rule
from dicom_node.planning import Planner
from dicom_node.plugins.catalogue import discover
from dicom_node.routing.defaults import default_rules
from dicom_node.routing.keywords import check_keywords


def rules_of(config: Config) -> tuple[Rule, ...]:
    """The site's rules, then the default ones unless they are switched off.

    Raises:
        ConfigError: a rule names a DICOM keyword that does not exist.
    """
    check_keywords(config.routes)
    return config.routes + (default_rules() if config.defaults else ())


def make_planner(config: Config) -> Planner:
    """Routing for this configuration and what is installed."""
    return Planner(rules_of(config), discover().specs, config.default_send_to)
