"""Routing rules: which series go to which corrector, in which role, and when they are complete."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    field_validator,
    model_validator,
)

from dicom_node.config.conditions import ALWAYS, Condition, Grammar, Keyword, Keywords, Scalar, check_pattern, listed

Texts = Annotated[tuple[Scalar, ...], BeforeValidator(listed), Field(min_length=1)]


class Capture(Grammar):
    """Reads named facts, such as `polarity` and `bin`, from the tags of each instance.

    Several captures may give the same name: the first that reads it in every instance of the series is used.

    Attributes:
        tag: tried in order; the first that captures in every instance is used.
        pattern: regular expression whose named groups are the captures.
        name: instead of `pattern`: the whole value of the tag is the capture.
        map: for a capture, canonical value to the spellings that mean it (letter case aside); others capture nothing.
        min_distinct: a tag with fewer different values over the series is passed over.
        tells_apart: the capture numbers images that lie at one position and have the same captures otherwise (those
            read before it). A tag that does not tell all of them apart is passed over, `min_distinct` counts at a
            position, and where every image has its position to itself the capture may stay unread.
    """

    tag: Keywords
    pattern: str | None = None
    name: Annotated[str | None, Field(pattern=r"^[a-z][a-z0-9_]*$")] = None
    map: dict[str, dict[str, Texts]] = Field(default_factory=dict)
    min_distinct: Annotated[int, Field(ge=1)] = 1
    tells_apart: StrictBool = False

    @field_validator("pattern")
    @classmethod
    def _has_groups(cls, value: str | None) -> str | None:
        if value is not None and not check_pattern(value).groupindex:
            raise ValueError("the pattern needs a named group, such as (?P<polarity>plus|minus)")
        return value

    @model_validator(mode="after")
    def _names_something(self) -> Capture:
        if (self.pattern is None) == (self.name is None):
            raise ValueError("give either pattern (with named groups) or name (for the whole value)")
        if unknown := sorted(set(self.map) - set(self.names)):
            raise ValueError(f"map names {unknown}, but the captures are {sorted(self.names)}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Names of what it captures."""
        if self.name is not None:
            return (self.name,)
        return tuple(check_pattern(self.pattern or "").groupindex)


class ExpectedCount(Grammar):
    """A tag that says how many there must be.

    Attributes:
        tag: e.g. ImagesInAcquisition.
        of: what it counts: `instances` of the series, instances at each `position`, or distinct values of a keyword.
        demand: True: fewer means incomplete; False: fewer is only told in the explanation.
    """

    tag: Keyword
    of: Literal["instances", "position"] | Keyword = "instances"
    demand: StrictBool = True


class Evidence(Grammar):
    """What must be there before an input set is complete.

    Attributes:
        same_captures: captures that must have the same set of values in every role, e.g. `bin`.
        equal_captures: captures that must have the same number of values in every role, whatever the values are.
        same_positions: whether all roles must cover the same slice positions.
        equal_counts: whether every slice position must hold the same number of instances.
        expected: counts that the headers promise; checked where the tag is present.
        min_instances: fewest instances of a role.
    """

    same_captures: tuple[str, ...] = ()
    equal_captures: tuple[str, ...] = ()
    same_positions: bool = False
    equal_counts: bool = False
    expected: tuple[ExpectedCount, ...] = ()
    min_instances: Annotated[int, Field(ge=1)] = 1


class RoleRule(Grammar):
    """Which series, and which of their instances, play a role.

    Attributes:
        when: what the series must be, beside the rule's own `when`.
        cues: what must make the role likely; see `Rule.cues`.
        captured: values that the captures of an instance must have, e.g. `{polarity: plus}`.
    """

    when: Condition = ALWAYS
    cues: Condition = ALWAYS
    captured: dict[str, Texts] = Field(default_factory=dict)


class Rule(Grammar):
    """One route.

    Attributes:
        name: unique name, shown with every decision.
        corrector: corrector name.
        when: what a series must be for the corrector to make sense; role conditions come on top.
        cues: what must speak for the series, usually `at_least`; not asked when a user names the corrector.
        method: method name, None for the corrector's default.
        parameters: route parameters, checked against the corrector's spec.
        send_to: peers, None for `default_send_to`.
        enabled: False keeps the rule, but it takes nothing.
        priority: rules with a smaller number choose first; among equals the order of the file decides.
        scope: whether the roles are found within one `study` or within all studies of one `patient`.
        keep: condition on each instance; the others of the series (e.g. localizers) are left out before all else.
        capture: named facts, read in order.
        roles: role name to its rule; empty for a corrector with a single role.
        evidence: when the input set is complete.
        exclusive: True: a series that this rule takes is not offered to later rules.
    """

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    corrector: Annotated[str, Field(min_length=1)]
    when: Condition = ALWAYS
    cues: Condition = ALWAYS
    method: str | None = None
    parameters: dict[str, StrictBool | StrictInt | StrictFloat | StrictStr] = Field(default_factory=dict)
    send_to: tuple[str, ...] | None = None
    enabled: StrictBool = True
    priority: int = 100
    scope: Literal["study", "patient"] = "study"
    keep: Condition = ALWAYS
    capture: tuple[Capture, ...] = ()
    roles: dict[str, RoleRule] = Field(default_factory=dict)
    evidence: Evidence = Evidence()
    exclusive: StrictBool = True

    @model_validator(mode="after")
    def _captures_are_known(self) -> Rule:
        known = {name for capture in self.capture for name in capture.names}
        for role, rule in self.roles.items():
            if unknown := sorted(set(rule.captured) - known):
                raise ValueError(f"role {role!r} asks for {unknown}, but no capture reads them")
        for asked in ("same_captures", "equal_captures"):
            if unknown := sorted(set(getattr(self.evidence, asked)) - known):
                raise ValueError(f"evidence.{asked} names {unknown}, but no capture reads them")
        return self
