"""Which epoch was best, and whether to go on."""

import math

from napari_why.training.checkpoint import best_epoch, out_of_patience


def losses(*values: float) -> list[dict[str, float]]:
    return [{"train_loss": 0.0, "validation_loss": value} for value in values]


def test_the_best_epoch():
    assert best_epoch([]) == 0
    assert best_epoch(losses(0.5, 0.3, 0.3, 0.4)) == 2
    assert best_epoch(losses(math.nan, 0.9, math.inf)) == 2
    assert best_epoch([{"train_loss": 0.2}, {"train_loss": 0.1}]) == 2


def test_patience():
    assert not out_of_patience(losses(0.5, 0.6, 0.6), 0)
    assert not out_of_patience(losses(0.5, 0.6), 2)
    assert out_of_patience(losses(0.5, 0.6, 0.7), 2)
    assert not out_of_patience(losses(0.5, 0.6, 0.4), 2)
