import json
from pathlib import Path

import pytest

from .conftest import Shell

# of so few images the test for locks cannot tell, and does not go on to repeat itself
SMALL = ("--size=16", "--training=8", "--scored=4", "--epochs=1", "--seeds=1")


def test_truth_prints_a_table_and_goes_on_where_it_was(tmp_path: Path, shell: Shell) -> None:
    out = tmp_path / "out"
    wanted = ("truth", "--effects=translocation", "--methods=TRUTH,do-nothing", f"--out={out}")
    first = shell("benchmark", *wanted, *SMALL)
    assert first.code == 0, first.err
    lines = first.out.splitlines()
    assert lines[0].startswith("effect\tdirection\tmethod\tseeds\tvalidity\tagreement")
    assert len(lines) == 9  # both rows and both baselines, in both directions
    assert lines[0].endswith(
        "\tagreement gain\tcorrelation gain\trelative_error gain\tfeature_distance gain"
    )
    assert lines[1].startswith("translocation\thealthy to treated\tTRUTH\t1\t")
    assert (out / "results.parquet").exists()
    assert (out / "figures.png").exists()
    assert shell("benchmark", *wanted, *SMALL).out == first.out


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["truth", "--effects", "magic"], "effects: found magic"),
        (["truth", "--methods", "magic"], "methods: found magic"),
        (["real"], "expected 'truth' without, or 'real' with"),
        (["truth", "folder"], "expected 'truth' without, or 'real' with"),
    ],
)
def test_wrong_usage_is_said_in_one_line(
    arguments: list[str], found: str, tmp_path: Path, shell: Shell
) -> None:
    outcome = shell("benchmark", *arguments, f"--out={tmp_path}")
    assert outcome.code == 1
    assert found in outcome.err
    assert outcome.err.count("\n") == 1


def test_final_scenes_are_made_by_one_option_alone(tmp_path: Path, shell: Shell) -> None:
    wanted = ("truth", "--effects=null", "--methods=TRUTH", *SMALL)
    named = shell("benchmark", *wanted, f"--out={tmp_path / 'named'}", "--scenes=final")
    assert named.code != 0
    assert not (tmp_path / "named").exists()
    asked = shell("benchmark", *wanted, f"--out={tmp_path / 'asked'}", "--final")
    assert asked.code == 0, asked.err
    (made,) = (tmp_path / "asked").glob("results/null/seed-0/TRUTH.json")
    assert json.loads(made.read_text())["identity"]["protocol"]["scenes"] == "final"
