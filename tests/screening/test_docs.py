"""The example of docs/screening.md runs as it stands, and the files it names are there."""

import re
import shlex
import shutil
from pathlib import Path

import pandas as pd
import pytest

from napari_why.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "screening.md"


def test_the_page_does_what_it_says(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(model, "model")
    text = PAGE.read_text(encoding="utf-8")
    known: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, known)  # noqa: S102 - that it runs is what is tested
    lines = "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ")
    for line in filter(str.strip, lines.splitlines()):
        with pytest.raises(SystemExit) as left:
            main(shlex.split(line)[1:])
        assert left.value.code == 0
    for other in ("results_of_shell", "merged"):
        shown = pd.read_parquet(f"{other}/fields.parquet")
        pd.testing.assert_frame_equal(shown, known["found"].fields)
    names = re.findall(
        r"`([a-z]+\.(?:csv|parquet|json|txt|html))`", text.split("## Where it runs")[0]
    )
    absent = {name for name in names if not (tmp_path / "results" / name).exists()}
    assert absent <= {"doses.csv", "regions.csv"}
    findings = set(re.findall(r"^\| `([a-z ,]+)(?:: \.\.\.)?` \|", text, re.MULTILINE))
    shown = set(known["found"].analysis.hits["finding"].str.partition(":")[0])
    assert shown <= findings
