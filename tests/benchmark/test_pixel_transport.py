import numpy as np
import torch
from scipy import ndimage

from napari_why.benchmark.ceilings import fit_pixel_transport


def fields(count: int, seed: int) -> torch.Tensor:
    """Return (N, 2, 32, 32): blobs, and a texture that lives on the blobs."""
    rng = np.random.default_rng(seed)
    blobs = ndimage.gaussian_filter(rng.normal(size=(count, 32, 32)), (0, 4, 4))
    blobs = (blobs > blobs.std()).astype(float)
    texture = ndimage.gaussian_filter(rng.normal(size=(count, 32, 32)), (0, 1, 1)) * 4
    return torch.from_numpy(np.stack([blobs, blobs * texture], axis=1)).float()


def test_a_known_map_between_classes_is_learnt_from_unpaired_images() -> None:
    source, others, test = fields(200, 0), fields(200, 1), fields(5, 2)
    target = others.clone()
    target[:, 1] = 0.3 * others[:, 1] + 2.0 * others[:, 0]
    moved = fit_pixel_transport(source, target, (0,))(test)
    assert torch.equal(moved[:, 0], test[:, 0])
    wanted = 0.3 * test[:, 1] + 2.0 * test[:, 0]
    change = (wanted - test[:, 1]).norm()
    assert (moved[:, 1] - wanted).norm() < 0.25 * change
    onto_itself = fit_pixel_transport(source, others, (0,))(test)
    assert (onto_itself - test).norm() < 0.5 * change


def test_without_a_fixed_channel_all_move() -> None:
    source = fields(20, 0)
    moved = fit_pixel_transport(source, 2 * fields(20, 1) + 1, ())(source)
    assert torch.allclose(moved.mean(), 2 * source.mean() + 1, atol=0.1)
    assert not torch.equal(moved[:, 0], source[:, 0])
