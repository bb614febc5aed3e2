"""Parameters become options of a verb, by name."""

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from typer.testing import CliRunner

from napari_why.cli.application import Further, with_options
from napari_why.core.options import Help, Range, Unit, parameters_of

heard: list[dict[str, Any]] = []


def verb(path: Path, *, method: str = "blur", **parameters: Any) -> None:
    """Do it."""
    heard.append({"path": path, "method": method, **parameters})


def blur(
    *,
    width: Annotated[int, Help("width of the blur"), Range(1, 9), Unit("px")] = 3,
    border: Annotated[Literal["wrap", "mirror"], Help("what is beyond")] = "wrap",
    fast: Annotated[bool, Help("not exact")] = False,
) -> None: ...


def noise(
    *,
    width: Annotated[int, Help("width of the noise"), Range(1, 9)] = 5,
    border: Annotated[Literal["wrap", "black"], Help("what is beyond")] = "wrap",
    level_of_noise: Annotated[float | None, Help("how much")] = None,
) -> None: ...


@pytest.fixture
def run():
    panels = {"blur": parameters_of(blur), "noise": parameters_of(noise)}
    application = typer.Typer()
    application.command()(
        with_options(verb, Further(panels, choices={"method": ("blur", "noise")}))
    )

    def invoke(*arguments: str):
        heard.clear()
        return CliRunner().invoke(application, ["x.tif", *arguments], env={"COLUMNS": "250"})

    return invoke


def test_options_that_are_not_given_are_not_passed_on(run) -> None:
    assert run().exit_code == 0
    assert heard == [{"path": Path("x.tif"), "method": "blur"}]


def test_values_arrive_in_their_types(run) -> None:
    run("--width=4", "--fast", "--level-of-noise", "0.5", "--method", "noise")
    assert heard == [
        {
            "path": Path("x.tif"),
            "method": "noise",
            "width": 4,
            "fast": True,
            "level_of_noise": 0.5,
        }
    ]
    run("--no-fast")
    assert heard[0]["fast"] is False


def test_an_option_of_two_methods_takes_what_either_takes(run) -> None:
    for border in ("wrap", "mirror", "black"):
        run(f"--border={border}")
        assert heard[0]["border"] == border
    assert run("--border=nothing").exit_code == 2


@pytest.mark.parametrize("argument", ["--width=10", "--width=a", "--method=magic", "--deep=1"])
def test_what_no_method_takes_is_wrong_usage(run, argument: str) -> None:
    assert run(argument).exit_code == 2
    assert heard == []


def test_the_help_says_what_each_method_means_by_it(run) -> None:
    text = " ".join(run("--help").output.split())
    assert "blur: width of the blur, default 3 px; noise: width of the noise, default 5" in text
    assert "what is beyond, default wrap." in text


@dataclass(frozen=True)
class Place:
    """What two verbs may share."""

    name: Annotated[str, typer.Argument()]
    _: KW_ONLY
    depth: Annotated[int, typer.Option(min=0)] = 2


def test_the_fields_of_a_group_are_arguments_and_options_of_the_verb() -> None:
    found: list[Any] = []

    def look(place: Place, second: Path, *, fast: bool = False) -> None:
        found.extend([place, second, fast])

    application = typer.Typer()
    application.command()(with_options(look, Further()))
    assert CliRunner().invoke(application, ["here", "there", "--depth=3"]).exit_code == 0
    assert found == [Place("here", depth=3), Path("there"), False]
    assert CliRunner().invoke(application, ["here", "there", "--depth=-1"]).exit_code == 2
    assert CliRunner().invoke(application, ["here", "there"]).exit_code == 0
    assert found[3:] == [Place("here", depth=2), Path("there"), False]
