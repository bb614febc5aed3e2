"""What docs/exchange.md says is run as it stands there."""

import re
import shlex
from pathlib import Path

import pytest

import napari_why as why
from napari_why.attribution import METHODS
from napari_why.cli import main
from napari_why.images import write

PAGE = Path(__file__).parents[2] / "docs" / "exchange.md"
SIZE = 64

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_the_page_runs(tmp_path, monkeypatch, capsys) -> None:
    scenes = why.simulate(24, size=SIZE, wells=12)
    why.fit(
        scenes,
        "iresnet",
        size=SIZE,
        epochs=1,
        lock="none",
        pixel_maps=False,
        second_network=False,
        network_parameters={"blocks": "1", "widths": "4", "downscaling": "2"},
        on_event=why.quiet,
    ).save(tmp_path / "model")
    write(scenes.image(0), tmp_path / "field.ome.tif")
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    known: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, known)  # noqa: S102 - that it runs is what is tested
    assert "differ by" in capsys.readouterr().out
    for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
        for line in block.strip().splitlines():
            with pytest.raises(SystemExit) as left:
                main(shlex.split(line)[1:])
            assert left.value.code == 0, line
    with pytest.warns(UserWarning, match="another program"):
        assert why.load("imported").classes == ("healthy", "ill")


def test_the_page_names_every_method_that_asks_for_logits_alone() -> None:
    _, _, table = PAGE.read_text(encoding="utf-8").partition("the methods with black_box=True")
    named = re.findall(r"^\| `(\w+)` \|", table.partition("Counterfactuals come")[0], re.MULTILINE)
    assert sorted(named) == sorted(name for name in METHODS if METHODS[name].black_box)
