"""The grammar of conditions in routing rules: typed, checked when the configuration is read.

A condition is a mapping. `{Modality: CT, SeriesDescription: {matches: "(?i)hip"}}` is true when every entry is;
`all`, `any`, `not` and `at_least` combine; `tag`, `count`, `distinct`, `span`, `step`, `fraction`
and `geometry` open the long forms.
What they mean for a series is in `dicom_node.routing.conditions`; examples are in docs/configuration.md.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StrictFloat,
    StrictInt,
    StrictStr,
    Tag,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

_KEYWORD = re.compile(r"[A-Z][A-Za-z0-9]*(\.[A-Z][A-Za-z0-9]*)*|[0-9a-f]{4},[^,]+,[0-9a-f]{2}")
_COMBINERS = ("all", "any", "not", "at_least")
_LONG_FORMS = ("tag", "count", "distinct", "span", "step", "fraction", "geometry")


def _keyword(value: Any) -> str:
    if isinstance(value, str) and _KEYWORD.fullmatch(value):
        return value
    raise PydanticCustomError(
        "dicom_keyword",
        "not a DICOM keyword such as SeriesDescription, AnatomicRegionSequence.CodeMeaning or "
        "'0043,GEMS_PARM_01,34' (group, creator, element; hex in lower case), and none of the words {words}",
        {"words": ", ".join((*_COMBINERS, *_LONG_FORMS, "cue"))},
    )


def _scalar(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError(
            "quoted_word", "YAML reads this as true or false: put it in quotes, e.g. 'YES' or 'NO'"
        )
    if not isinstance(value, str | int | float):
        raise PydanticCustomError("plain_value", "this must be a text or a number")
    return value


def listed(value: Any) -> Any:
    """One item or a list of them."""
    return value if isinstance(value, list | tuple) else (value,)


Keyword = Annotated[str, BeforeValidator(_keyword)]
"""A DICOM keyword, a dotted path into a sequence, or a private tag with its creator."""
Keywords = Annotated[tuple[Keyword, ...], BeforeValidator(listed), Field(min_length=1)]
Scalar = Annotated[StrictStr | StrictInt | StrictFloat, BeforeValidator(_scalar)]


class Grammar(BaseModel):
    """Base of all conditions: immutable, unknown keys fail."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Range(Grammar):
    """A closed interval; one end may be open."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        return self

    def holds(self, number: float) -> bool:
        """Whether a number lies inside, ends included."""
        return (self.min is None or number >= self.min) and (self.max is None or number <= self.max)


class TagOperators(Grammar):
    """What is asked of a tag; several operators must all hold for the same value.

    Attributes:
        equals: exactly this text (blanks at the ends aside) or number.
        one_of: written `in`: any of these.
        matches: regular expression found anywhere in the text.
        min, max: numeric range, ends included.
        present: True: some value; False: none.
        absent: the reverse of `present`.
        values: of a multi-valued tag, whether `any` or `all` values must fit.
        instances: whether the tag must fit in `any` or in `all` instances of the series.
    """

    equals: Scalar | None = None
    one_of: Annotated[tuple[Scalar, ...] | None, Field(alias="in", min_length=1)] = None
    matches: StrictStr | None = None
    min: float | None = None
    max: float | None = None
    present: bool | None = None
    absent: bool | None = None
    values: Literal["any", "all"] = "any"
    instances: Literal["any", "all"] = "any"

    @field_validator("matches")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        if value is not None:
            check_pattern(value)
        return value

    @model_validator(mode="after")
    def _asks_something(self) -> TagOperators:
        of_value = (self.equals, self.one_of, self.matches, self.min, self.max)
        asked = [x for x in (*of_value, self.present, self.absent) if x is not None]
        if not asked:
            raise ValueError("ask something of the tag: equals, in, matches, min, max, present or absent")
        if self.present is not None and self.absent is not None:
            raise ValueError("give present or absent, not both")
        if self.wants_absence and len(asked) > 1:
            raise ValueError("a tag that must be absent cannot also have a value")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        return self

    @property
    def wants_absence(self) -> bool:
        """Whether the tag must be missing or empty."""
        return self.absent is True or self.present is False

    @property
    def asks_value(self) -> bool:
        """Whether anything beyond presence is asked."""
        return any(x is not None for x in (self.equals, self.one_of, self.matches, self.min, self.max))


def _short_operators(value: Any) -> Any:
    """`CT` means `{equals: CT}` and `[CT, MR]` means `{in: [CT, MR]}`."""
    if isinstance(value, dict | TagOperators):
        return value
    if isinstance(value, list | tuple):
        return {"in": value}
    return {"equals": _scalar(value)}


class TagTest(TagOperators):
    """`{tag: KEYWORD or [KEYWORDS], ...operators}`: at least one of the tags fits."""

    tag: Keywords
    cue: str | None = None


class CountTest(Range):
    """`{count: instances, min: 8}`: number of instances (of those that satisfy `where`)."""

    count: Literal["instances"]
    where: Condition | None = None
    cue: str | None = None


class DistinctTest(Range):
    """`{distinct: TriggerTime, min: 8}`: number of different values over the instances."""

    distinct: Keyword
    per: Literal["series", "position"] = "series"
    """`position`: at every slice position on its own."""
    cue: str | None = None


class SpanTest(Range):
    """`{span: TriggerTime, max: 2000}`: largest minus smallest value, in the tag's own unit."""

    span: Keyword
    per: Literal["series", "position"] = "series"
    cue: str | None = None


class StepTest(Range):
    """`{step: TriggerTime, min: 10, max: 100}`: median step between neighbouring values, in its own unit."""

    step: Keyword
    per: Literal["series", "position"] = "series"
    cue: str | None = None


class FractionTest(Range):
    """`{fraction: CONDITION, min: 0.9}`: share of the instances that satisfy a condition, 0 to 1."""

    fraction: Condition
    cue: str | None = None


GeometryName = Literal[
    "orientation", "slices", "slice_spacing_mm", "pixel_spacing_mm", "field_of_view_mm", "extent_mm", "images_per_slice"
]


class GeometryTest(Grammar):
    """`{geometry: orientation, equals: axial}` or `{geometry: field_of_view_mm, min: 300}`.

    Attributes:
        geometry: `orientation` (axial, coronal, sagittal, oblique, mixed), `slices` (distinct positions),
            `slice_spacing_mm` (median), `pixel_spacing_mm` (larger of the two), `field_of_view_mm` (larger side of
            the image), `extent_mm` (first to last slice), `images_per_slice` (median instances at a position).
        equals: the orientation, or several of which one must fit.
        min, max: range of a number.
    """

    geometry: GeometryName
    equals: Annotated[
        tuple[Literal["axial", "coronal", "sagittal", "oblique", "mixed"], ...] | None, BeforeValidator(listed)
    ] = None
    min: float | None = None
    max: float | None = None
    cue: str | None = None

    @model_validator(mode="after")
    def _fits(self) -> GeometryTest:
        number = self.min is not None or self.max is not None
        if self.geometry == "orientation" and (self.equals is None or number):
            raise ValueError("orientation needs equals: axial, coronal, sagittal, oblique or mixed")
        if self.geometry != "orientation" and (self.equals is not None or not number):
            raise ValueError(f"{self.geometry} needs min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        return self


class AtLeast(Grammar):
    """`{n: 2, of: [...]}`: that many of the conditions must hold: cues that agree."""

    n: Annotated[int, Field(ge=1)]
    of: Annotated[tuple[Condition, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _reachable(self) -> AtLeast:
        if self.n > len(self.of):
            raise ValueError(f"{self.n} of {len(self.of)} conditions can never hold")
        return self


class Where(Grammar):
    """A mapping of which every entry must hold: combiners and `KEYWORD: value or operators`. An empty one holds."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[Keyword, Annotated[TagOperators, BeforeValidator(_short_operators)]]

    all_of: Annotated[tuple[Condition, ...] | None, Field(alias="all", min_length=1)] = None
    any_of: Annotated[tuple[Condition, ...] | None, Field(alias="any", min_length=1)] = None
    none_of: Annotated[Condition | None, Field(alias="not")] = None
    at_least: AtLeast | None = None
    cue: str | None = None

    @property
    def tags(self) -> dict[str, TagOperators]:
        """The tests written as `KEYWORD: ...`, in the order of the file."""
        return dict(self.__pydantic_extra__)


def _form(value: Any) -> str | None:
    """Which form of condition a mapping is, by the word that opens it."""
    if isinstance(value, Grammar):
        return next((f"<{word}>" for word in _LONG_FORMS if word in type(value).model_fields), "<where>")
    if not isinstance(value, dict):
        return None
    return next((f"<{word}>" for word in _LONG_FORMS if word in value), "<where>")


Condition = Annotated[
    Annotated[TagTest, Tag("<tag>")]
    | Annotated[CountTest, Tag("<count>")]
    | Annotated[DistinctTest, Tag("<distinct>")]
    | Annotated[SpanTest, Tag("<span>")]
    | Annotated[StepTest, Tag("<step>")]
    | Annotated[FractionTest, Tag("<fraction>")]
    | Annotated[GeometryTest, Tag("<geometry>")]
    | Annotated[Where, Tag("<where>")],
    Discriminator(
        _form,
        custom_error_type="condition",
        custom_error_message="a condition is a mapping, such as {Modality: CT}",
    ),
]
"""Any condition."""

for _model in (CountTest, FractionTest, AtLeast, Where):
    _model.model_rebuild()


ALWAYS: Condition = Where.model_validate({})
"""The condition that always holds."""


def check_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a regular expression.

    Raises:
        ValueError: it is not valid, and why.
    """
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a valid regular expression: {error}") from error
