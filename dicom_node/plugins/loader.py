"""Builds a corrector from its spec: weights first, then the factory's module. Only workers call this."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from dicom_node.contracts import Corrector, CorrectorFactory, CorrectorSpec, ParameterValue
from dicom_node.errors import NodeError, PluginError
from dicom_node.plugins.weights import verify


def build(spec: CorrectorSpec, method: str, device: str, parameters: Mapping[str, ParameterValue]) -> Corrector:
    """Verify the method's weights, import the corrector's code and build it.

    Args:
        spec: the corrector.
        method: one of its methods.
        device: torch device string.
        parameters: resolved by `parameters.resolve`.

    Raises:
        WeightsError: the weights package is missing or altered.
        PluginError: the factory cannot be imported, raised, or gave something that cannot correct.
    """
    if method not in spec.methods:
        raise PluginError(f"{spec.name} has no method {method!r}; it has {', '.join(sorted(spec.methods))}")
    weights = verify(spec.weights[method]).directory if method in spec.weights else None
    factory = _factory(spec)
    try:
        corrector = factory(method=method, weights=weights, device=device, parameters=dict(parameters))
    except NodeError:
        raise
    except Exception as error:
        raise PluginError(
            f"{spec.factory} cannot build {spec.name}/{method}: {type(error).__name__}: {error}"
        ) from error
    if not callable(getattr(corrector, "correct", None)):
        raise PluginError(f"{spec.factory} gave a {type(corrector).__name__}, which has no correct()")
    return corrector


def _factory(spec: CorrectorSpec) -> CorrectorFactory:
    module_name, _, attribute = spec.factory.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise PluginError(f"{spec.name}: cannot import {module_name}: {type(error).__name__}: {error}") from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise PluginError(f"{spec.name}: {module_name} has no callable {attribute!r}")
    built: CorrectorFactory = factory
    return built
