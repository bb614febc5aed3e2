"""One signature gives validation, form, shell options and record."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from typing_extensions import TypeAliasType

from napari_why.core.errors import ParameterError
from napari_why.core.options import Help, Parameter, Range, Unit, parameters_of, validated


def occlude(
    image: object,
    *,
    window: Annotated[int, Help("side of the square"), Range(1, 512), Unit("px")] = 15,
    strength: Annotated[float, Help("how much is hidden"), Range(0, 1)] = 1.0,
    baseline: Annotated[Literal["zero", "mean"], Help("what hides")] = "zero",
    signed: Annotated[bool, Help("keep the sign")] = True,
    layer: Annotated[str | None, Help("layer, the last when none")] = None,
    on_event: Callable[[Any], None] = print,
) -> None:
    """Stand for a method of the registry."""


DEFAULTS = {"window": 15, "strength": 1.0, "baseline": "zero", "signed": True, "layer": None}


def parameter(name: str) -> Parameter:
    return {item.name: item for item in parameters_of(occlude)}[name]


def test_a_signature_is_described_in_order() -> None:
    assert [item.name for item in parameters_of(occlude)] == list(DEFAULTS)
    assert parameter("window") == Parameter(
        "window", int, 15, help="side of the square", low=1, high=512, unit="px"
    )
    assert parameter("baseline").choices == ("zero", "mean")
    assert parameter("layer").optional
    assert parameter("layer").type is str


def test_missing_values_are_filled_with_the_defaults() -> None:
    assert validated(occlude, {}) == DEFAULTS
    assert validated(occlude, {"window": 7}) == {**DEFAULTS, "window": 7}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"window": 0}, "window: found 0; expected 1 to 512 px"),
        ({"window": 2.5}, r"window: found 2.5 \(float\); expected int"),
        ({"window": True}, r"window: found True \(bool\); expected int"),
        ({"window": None}, r"window: found None \(NoneType\); expected int"),
        ({"strength": 1.5}, "strength: found 1.5; expected 0 to 1"),
        ({"strength": float("nan")}, "strength: found nan; expected 0 to 1"),
        ({"baseline": "noise"}, "baseline: found 'noise'; expected one of zero, mean"),
        ({"signed": 1}, r"signed: found 1 \(int\); expected bool"),
        ({"stride": 6, "size": 1}, "occlude: found parameter size, stride; expected one of window"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(
    values: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ParameterError, match=sentence):
        validated(occlude, values)


def test_a_parameter_error_is_a_value_error_too() -> None:
    with pytest.raises(ValueError, match="window"):
        validated(occlude, {"window": -1})


@given(st.integers(1, 512))
def test_whole_numbers_of_any_type_are_whole_numbers(value: int) -> None:
    for same in (value, float(value), np.int64(value), np.uint16(value)):
        result = parameter("window").validate(same)
        assert result == value
        assert type(result) is int


@given(st.integers())
def test_the_range_includes_its_ends_and_nothing_beyond(value: int) -> None:
    if 1 <= value <= 512:
        assert parameter("window").validate(value) == value
    else:
        with pytest.raises(ParameterError):
            parameter("window").validate(value)


@given(st.floats(allow_nan=True))
def test_a_float_outside_the_range_never_passes(value: float) -> None:
    assume(not 0 <= value <= 1)
    with pytest.raises(ParameterError):
        parameter("strength").validate(value)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "window": st.integers(1, 512),
            "strength": st.floats(0, 1),
            "baseline": st.sampled_from(["zero", "mean"]),
            "signed": st.booleans(),
            "layer": st.none() | st.text(),
        },
    )
)
def test_validation_is_idempotent(values: dict[str, Any]) -> None:
    once = validated(occlude, values)
    assert validated(occlude, once) == once
    assert once == {**DEFAULTS, **values}


def test_a_type_that_no_form_can_show_is_a_programming_error() -> None:
    def method(*, shape: Annotated[tuple[int, int], Help("not one value")] = (1, 1)) -> None: ...

    with pytest.raises(TypeError, match="parameter shape"):
        parameters_of(method)


def test_an_alias_of_a_type_is_what_it_stands_for() -> None:
    """As ``type Side = Literal["left", "right"]`` makes one since Python 3.12."""
    side = TypeAliasType("side", Literal["left", "right"])
    times = TypeAliasType("times", Annotated[int, Help("how often"), Range(1, 9)])

    def turn(
        *,
        to: Annotated[side, Help("where to")] = "left",
        then: Annotated[side | None, Help("where to next")] = None,
        last: Annotated[Literal["auto", side, "back"], Help("where to at last")] = "auto",
        times: times = 1,
    ) -> None: ...

    to, then, last, often = parameters_of(turn)
    assert (to.choices, to.optional) == (("left", "right"), False)
    assert (then.choices, then.optional) == (("left", "right"), True)
    assert last.choices == ("auto", "left", "right", "back")
    assert (often.name, often.help, often.high) == ("times", "how often", 9)
