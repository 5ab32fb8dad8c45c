"""The default routes that ship with the package."""

from __future__ import annotations

from importlib.resources import as_file, files

from dicom_node.config.loading import load_rules
from dicom_node.config.rules import Rule


def default_rules() -> tuple[Rule, ...]:
    """The rules of `default_routes.yaml`; they come after the rules of the configuration.

    Raises:
        dicom_node.errors.ConfigError: the shipped file is damaged.
    """
    with as_file(files("dicom_node.routing") / "default_routes.yaml") as path:
        return load_rules(path)
