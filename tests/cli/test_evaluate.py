"""``napari-why evaluate``."""

import json
from pathlib import Path

import pandas as pd

from napari_why.model import load


def test_the_figures_come_with_what_they_are_worth(shell, model: Path, data: Path) -> None:
    outcome = shell("evaluate", model, data, "--no-nulls")
    assert outcome.code == 0
    assert outcome.err == ""
    assert "accuracy" in outcome.out.splitlines()[0]
    assert "(balanced " in outcome.out.splitlines()[0]
    assert "of the log-odds" in outcome.out.splitlines()[0]
    assert "true \\ predicted\tdiseased\ttreated" in outcome.out


def test_what_cannot_be_told_from_the_class_comes_first(shell, model: Path, data: Path) -> None:
    table = pd.read_csv(data / "labels.csv")
    apart = data.parent / "apart.csv"
    table["path"] = [f"{data.name}/{path}" for path in table["path"]]
    table.assign(plate=table["label"]).to_csv(apart, index=False)
    outcome = shell("evaluate", model, apart, "--no-nulls")
    assert outcome.code == 0
    assert outcome.out.startswith("Warning: each class has plates of its own")


def test_json_is_for_programs(shell, model: Path, data: Path) -> None:
    outcome = shell("evaluate", model, data, "--json")
    assert outcome.code == 0
    plain = json.loads(outcome.out)
    assert 0 <= plain["metrics"]["accuracy"] <= 1
    assert plain["nulls"]
    assert plain["record"]["classifier"] == load(model).fingerprint


def test_groups_can_be_chosen(shell, model: Path, data: Path) -> None:
    without = shell("evaluate", model, data, "--json", "--no-nulls", "--group=none")
    assert json.loads(without.out)["by_group"] is None
    unknown = shell("evaluate", model, data, "--group=dish")
    assert unknown.code == 1
    assert "dish" in unknown.err
