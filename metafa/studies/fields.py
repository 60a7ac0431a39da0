"""The types that settings have: their bounds, and what is said of a value outside them."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Tag,
)
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, PydanticKnownError, core_schema

MAX_WHOLE = 2**63 - 1  # the largest whole number that a column of Parquet holds

MAX_STEPS = 10**12  # of a phase: more than anybody waits for

MAX_SIZE = 1_000_000  # of anything that a trial holds as many of at once: units, images of a batch, tasks

MAX_SEEDS = 10_000  # of a trial; each has generators of its own

MAX_CPUS, MAX_GPUS = 4096, 1024  # of a trial; torch starts as many threads

LARGEST, SMALLEST = 3.4028234663852886e38, 1.1754943508222875e-38  # the sizes of numbers in 32 bits, but for 0

MAX_LETTERS = 10_000  # of a text


def mistake(sentence: str) -> PydanticCustomError:
    """What a setting that is wrong, or does not fit another, raises."""
    return PydanticCustomError("misfit", "{sentence}", {"sentence": sentence})


def in_32_bits(value: float) -> float:
    if value and not SMALLEST <= abs(value) <= LARGEST:
        raise mistake(f"found {value}: numbers of 32 bits are 0, or from {SMALLEST:.3g} to {LARGEST:.3g} in size")
    return value


def _readable(value: str) -> str:
    if len(value) > MAX_LETTERS:
        raise mistake(f"found a text of {len(value)} letters, expected at most {MAX_LETTERS}")
    if odd := [letter for letter in value if unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\n\t"]:
        raise mistake(f"found {odd[0]!r} in it, expected a text without control characters")
    return value


def whole_gpus(value: float) -> float:
    if value and not 0.0001 <= value <= 1 and not (value > 1 and value.is_integer()):
        raise mistake(f"found {value}: GPUs are shared by fractions from 0.0001, and of more than one taken whole")
    return value


def _end_of_range(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PydanticKnownError("float_type")
    if isinstance(value, int) and not -MAX_WHOLE <= value <= MAX_WHOLE:
        raise mistake(f"found an integer of {value.bit_length()} bits, expected one from 1 - 2^63 to 2^63 - 1")
    if not math.isfinite(value):
        raise PydanticKnownError("finite_number")
    return value


@dataclass(frozen=True, eq=False)
class Known:
    """The type of a setting that is a name in a table, such as that of the rules: a row that is added to the table is
    allowed from then on."""

    table: Collection[str]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._checked)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"enum": list(self.table), "type": "string"}

    def _checked(self, value: Any) -> Any:
        if not isinstance(value, str) or value not in self.table:
            raise PydanticKnownError("literal_error", {"expected": self._expected()})
        return value

    def _expected(self) -> str:
        *others, last = map(repr, self.table)
        return f"{', '.join(others)} or {last}" if others else last


Positive = Annotated[int, Field(ge=1, le=MAX_WHOLE)]

Count = Annotated[int, Field(ge=0, le=MAX_WHOLE)]

Steps = Annotated[int, Field(ge=0, le=MAX_STEPS)]

Size = Annotated[int, Field(ge=1, le=MAX_SIZE)]

Number = Annotated[float, AfterValidator(in_32_bits)]

Rate = Annotated[float, Field(gt=0), AfterValidator(in_32_bits)]

Fraction = Annotated[float, Field(ge=0, lt=1), AfterValidator(in_32_bits)]

NotNegative = Annotated[float, Field(ge=0), AfterValidator(in_32_bits)]

SIDE_BY_SIDE = "side by side"
"""What marks the type of a setting that may be a list, whose values are trained side by side in one trial."""

Rates = Annotated[
    Annotated[Rate, Tag("one rate")] | Annotated[list[Rate], Field(min_length=1), Tag("rates")],
    Discriminator(lambda value: "rates" if isinstance(value, list) else "one rate"),
    SIDE_BY_SIDE,
]
"""A learning rate; or a list of them, each of which all seeds train with, side by side in one trial."""

Strengths = list[NotNegative]

End = Annotated[float | int, BeforeValidator(_end_of_range)]

Text = Annotated[str, AfterValidator(_readable)]

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]


def keys_of(table: type[BaseModel]) -> list[str]:
    """The settings of a table that a study file may say; others stand in results of earlier versions alone."""
    skipped = SkipJsonSchema  # a class, which type checkers see as an alias
    return [name for name, field in table.model_fields.items() if not any(type(m) is skipped for m in field.metadata)]


class Settings(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
