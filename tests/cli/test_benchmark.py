import json
from pathlib import Path

import pandas as pd
import pytest

from napari_why.benchmark.scores import BASELINES
from napari_why.cli.benchmark import read_seeds
from napari_why.core.errors import ParameterError
from napari_why.images import write
from napari_why.simulation import EffectScene

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


def test_attribution_prints_a_table_and_goes_on_where_it_was(tmp_path: Path, shell: Shell) -> None:
    out = tmp_path / "out"
    small = ("--size=32", "--training=8", "--scored=2", "--epochs=1", "--samples=4", "--seeds=0,")
    wanted = ("attribution", "--networks=cam_net", "--effects=tag.second", f"--out={out}", *small)
    first = shell("benchmark", *wanted, "--methods=saliency,lrp")
    assert first.code == 0, first.err
    lines = first.out.splitlines()
    assert lines[0].startswith("effect\tnetwork\tmethod\tseeds\trelevance_mass\t")
    assert len(lines) == 1 + 2 + 5  # two methods, and what asks no network
    assert [path.name for path in (out / "results").iterdir()] == ["tag.second of cam_net"]
    place = out / "results" / "tag.second of cam_net" / "seed-0" / "lrp.json"
    identity = json.loads(place.read_text())["identity"]
    assert identity["maps_of"]["size"] == 32
    assert (identity["judged_by"]["scored"], identity["judged_by"]["samples"]) == (2, 4)
    assert (out / "attribution.md").read_text().startswith("| effect | network |")
    made = place.stat().st_mtime_ns
    assert shell("benchmark", *wanted, "--methods=saliency,lrp").out == first.out
    assert place.stat().st_mtime_ns == made


def test_seeds_are_a_number_or_numbers() -> None:
    assert list(read_seeds("3")) == [0, 1, 2]
    assert list(read_seeds("0,2")) == [0, 2]
    for wrong in ("0", "", "-1", "a", "1,b"):
        with pytest.raises(ParameterError, match="--seeds: found"):
            read_seeds(wrong)


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["attribution", "--effects", "magic"], "effects: found magic"),
        (["attribution", "--methods", "magic"], "method: found 'magic'"),
        (["attribution", "--networks", "magic"], "network: found 'magic'"),
        (["attribution", "--strength", "2"], "found one of them for attribution"),
        (["attribution", "folder"], "'attribution' takes none"),
        (["truth", "--training", "3"], "--training: found 3"),
        (["truth", "--seeds", "some"], "--seeds: found 'some'"),
        (["truth", "--effects", "magic"], "effects: found magic"),
        (["truth", "--methods", "magic"], "methods: found magic"),
        (["real"], "expected 'truth' without, or 'real' with"),
        (["truth", "folder"], "expected 'truth' without, or 'real' with"),
        (["planted"], "'planted' takes one too"),
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


def test_planted_takes_a_folder_of_images_without_classes_and_measures_every_row(
    tmp_path: Path, shell: Shell
) -> None:
    fields, out = tmp_path / "fields", tmp_path / "out"
    fields.mkdir()
    for number in range(12):
        write(EffectScene(number, size=32).image("healthy"), fields / f"field_{number:02d}.ome.tif")
    methods = ("TRUTH", "do-nothing", "pixel-transport", "transport", "true-pairs")
    wanted = ("planted", str(fields), "--tile=16", f"--out={out}", *SMALL)
    outcome = shell("benchmark", *wanted, "--effects=dimming", f"--methods={','.join(methods)}")
    assert outcome.code == 0, outcome.err
    table = pd.read_csv(out / "results.csv")
    assert set(table["effect"]) == {"dimming"}
    assert set(table["method"]) == {*methods, *BASELINES}
    assert set(table["direction"]) == {"untouched to planted", "planted to untouched"}
    assert (table.loc[table["method"] == "TRUTH", "relative_error"] == 0).all()
    assert (table.loc[table["method"] == "do-nothing", "relative_error"] == 1).all()
    # images are 16 bits: what pairs teach changes something, however little one epoch is
    assert (table.loc[table["method"] == "true-pairs", "change_size"] > 0).all()
    for name in ("reference_accuracy", "balanced_accuracy"):
        assert table[name].between(0, 1).all()
    # one epoch shows nothing of the outside judge, and its agreement is not shown without that
    assert table["notes"].str.contains("agreement is with a network of which is to be said").any()


def test_planted_effects_that_are_not_there_are_refused(tmp_path: Path, shell: Shell) -> None:
    write(EffectScene(0, size=32).image("healthy"), tmp_path / "field.ome.tif")
    wrong = shell(
        "benchmark", "planted", str(tmp_path), "--effects=magic", f"--out={tmp_path / 'o'}"
    )
    assert wrong.code == 1
    assert "expected one of brightness" in wrong.err
