"""What docs/batch.md says is run, as it stands there."""

import re
import shlex
import shutil
from pathlib import Path

import pandas as pd
import pytest

from napari_why.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "batch.md"


def test_the_page_runs(scenes, model, tmp_path, monkeypatch):
    shutil.copytree(scenes, tmp_path / "plate")
    shutil.copytree(model, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    known: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, known)  # noqa: S102 - that it runs is what is tested
    assert "6 of them by an earlier run" in known["again"].sentences[0]
    (line,) = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    with pytest.raises(SystemExit) as left:
        main(shlex.split(line.replace("\\\n", " "))[1:])
    assert left.value.code == 0
    shown = pd.read_csv("results_of_shell/images.csv")
    pd.testing.assert_frame_equal(shown, pd.read_csv("results/images.csv"))
    for name in re.findall(r"^\| `([a-z ]+)`", text, re.MULTILINE):
        assert name in shown or (tmp_path / "results" / name).exists(), name
