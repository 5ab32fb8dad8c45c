"""Route parameters and method against a corrector's spec."""

from __future__ import annotations

import math
from collections.abc import Mapping

from dicom_node.contracts import CorrectorSpec, Parameter, ParameterValue
from dicom_node.errors import RequestError

_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def resolve(
    spec: CorrectorSpec, method: str | None, given: Mapping[str, ParameterValue]
) -> tuple[str, dict[str, ParameterValue]]:
    """Choose the method and fill in every parameter.

    Args:
        spec: the corrector.
        method: method name, None for the spec's default.
        given: values from a route or the command line; text is read as the parameter's own type.

    Returns:
        The method, and all parameters of the spec in the spec's order.

    Raises:
        RequestError: unknown method or parameter, wrong type, or out of range; says what is allowed.
    """
    chosen = spec.default_method if method is None else method
    if chosen not in spec.methods:
        raise RequestError(f"{spec.name} has no method {chosen!r}; it has {', '.join(sorted(spec.methods))}")
    if unknown := sorted(set(given) - set(spec.parameters)):
        known = ", ".join(sorted(spec.parameters)) or "none"
        raise RequestError(f"{spec.name} has no parameter {unknown[0]!r}; it has {known}")
    values: dict[str, ParameterValue] = {}
    for name, parameter in spec.parameters.items():
        values[name] = _checked(f"{spec.name}: parameter {name}", parameter, given.get(name, parameter.default))
    return chosen, values


def _checked(where: str, parameter: Parameter, value: ParameterValue) -> ParameterValue:
    typed = _typed(where, parameter.default, value)
    if parameter.choices and typed not in parameter.choices:
        allowed = ", ".join(str(c) for c in parameter.choices)
        raise RequestError(f"{where} must be one of {allowed}, got {value!r}")
    if isinstance(typed, int | float) and not isinstance(typed, bool):
        if parameter.minimum is not None and typed < parameter.minimum:
            raise RequestError(f"{where} must be at least {parameter.minimum:g}, got {typed:g}")
        if parameter.maximum is not None and typed > parameter.maximum:
            raise RequestError(f"{where} must be at most {parameter.maximum:g}, got {typed:g}")
    return typed


def _typed(where: str, default: ParameterValue, value: ParameterValue) -> ParameterValue:
    """The value in the type of the default, which is the parameter's type."""
    if isinstance(default, bool):
        word = _WORDS.get(str(value).lower()) if isinstance(value, bool | str) else None
        if word is None:
            raise RequestError(f"{where} must be true or false, got {value!r}")
        return word
    if isinstance(default, str):
        if not isinstance(value, str):
            raise RequestError(f"{where} must be a text, got {value!r}")
        return value
    kind = "a whole number" if isinstance(default, int) else "a finite number"
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (ValueError, TypeError, OverflowError):  # nothing, a date, a number beyond all floats
        number = float("nan")
    if not math.isfinite(number) or (isinstance(default, int) and not number.is_integer()):
        raise RequestError(f"{where} must be {kind}, got {value!r}")
    return int(number) if isinstance(default, int) else number
