"""Scenes of two effects, each of which can be there without the other."""

import numpy as np
import pytest

from napari_why.core.errors import ParameterError
from napari_why.simulation import EFFECT_PAIRS, PairScene

CHANNELS = {
    "two_channels": {"first": ["TMRM"], "second": ["DAPI"]},
    "tag": {"first": ["TMRM"], "second": ["TMRM"]},
    "haze": {"first": ["TMRM"], "second": ["DAPI"]},
}


@pytest.mark.parametrize("pair", EFFECT_PAIRS)
def test_each_effect_changes_its_channel_and_they_add_up(pair: str) -> None:
    scene = PairScene(2, pair, seed=5)
    parts = {part: scene.true_change("neither", part) for part in ("first", "second")}
    for part, change in parts.items():
        changed = [name for name in ("DAPI", "TMRM") if abs(change.sel(c=name)).max() > 1]
        assert changed == CHANNELS[pair][part]
    whole = scene.true_change("neither", "both")
    np.testing.assert_allclose(whole, parts["first"] + parts["second"], atol=1e-6)


def test_a_tag_is_small_and_in_the_corner() -> None:
    change = PairScene(0, "tag").true_change("neither", "second").values[1]
    rows, columns = np.nonzero(change)
    assert len(rows) == 25
    assert max(rows.max(), columns.max()) < 10


def test_an_unknown_pair_is_refused() -> None:
    with pytest.raises(ParameterError, match="two_channels, tag, haze"):
        PairScene(0, "nothing")
