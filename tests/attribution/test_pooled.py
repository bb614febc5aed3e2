"""Sums over regions: of given labels, of superpixels and of squares."""

import numpy as np
import pytest
import torch

from napari_why.attribution import WRAPPERS, Evidence, attribute
from napari_why.attribution.pooled import make_regions
from napari_why.core.errors import ParameterError

pooled = WRAPPERS["pooled"].function


def random_evidence(pixels: torch.Tensor) -> Evidence:
    """A method of two channels with its sampling error."""
    generator = torch.Generator().manual_seed(3)
    maps = torch.randn(2, *pixels.shape[-2:], generator=generator)
    return Evidence(maps, maps.sum(dim=0), "logit per pixel", standard_error=maps[0].abs())


def random_labels() -> torch.Tensor:
    return torch.randint(0, 4, (9, 7), generator=torch.Generator().manual_seed(1)) * 5


def test_sums_are_those_of_the_pixels_of_each_region(wrap_function) -> None:
    labels, x = random_labels(), torch.zeros(1, 2, 9, 7)
    plain = random_evidence(x)
    found = pooled(wrap_function(x, random_evidence), by="regions", regions=labels)
    assert [region.label for region in found.regions] == [5, 10, 15]
    for region in found.regions:
        total = error = 0.0
        for row in range(9):
            for column in range(7):
                if labels[row, column] == region.label:
                    total += plain.joint[row, column].item()
                    error += plain.standard_error[row, column].item()
        assert region.value == pytest.approx(total, rel=1e-5)
        assert region.standard_error == pytest.approx(error, rel=1e-5)
    assert found.labels is None  # those were given
    outside = plain.joint[labels == 0].sum().item()
    assert found.details["outside_regions"] == pytest.approx(outside, rel=1e-5)


def test_maps_are_the_means_of_regions_and_keep_their_sums(wrap_function) -> None:
    labels, x = random_labels(), torch.zeros(1, 2, 9, 7)
    plain = random_evidence(x)
    found = pooled(wrap_function(x, random_evidence), by="regions", regions=labels)
    for label in (0, 5, 10, 15):
        inside = labels == label
        np.testing.assert_allclose(
            found.maps[:, inside],
            plain.maps[:, inside].mean(dim=1, keepdim=True).expand(2, int(inside.sum())),
            rtol=1e-4,
        )
        np.testing.assert_allclose(found.joint[inside].std(), 0, atol=1e-6)
    np.testing.assert_allclose(found.maps.sum(dim=(1, 2)), plain.maps.sum(dim=(1, 2)), rtol=1e-4)
    assert found.joint.sum().item() == pytest.approx(plain.joint.sum().item(), rel=1e-4)


def test_squares_are_counted_row_by_row() -> None:
    labels = make_regions(torch.zeros(1, 1, 4, 5), "grid", 2, 0.1)
    assert labels.tolist() == [[1, 1, 2, 2, 3], [1, 1, 2, 2, 3], [4, 4, 5, 5, 6], [4, 4, 5, 5, 6]]


def test_superpixels_follow_planted_borders(wrap_function) -> None:
    rows, columns = torch.meshgrid(torch.arange(48), torch.arange(48), indexing="ij")
    cell = ((rows - 22) ** 2 + (columns - 27) ** 2 < 11**2).float()
    noise = 0.1 * torch.randn(1, 2, 48, 48, generator=torch.Generator().manual_seed(0))
    x = (
        noise + torch.stack([cell, 0.5 * cell])[None]
    )  # of two channels, not three as in photographs
    x[0, 0, 3, 3] = 1000.0  # a hot pixel leaves the contrast of all others as it is
    found = pooled(wrap_function(x, random_evidence), by="superpixels", side=8)
    labels = found.labels
    assert labels is not None
    assert 20 <= len(found.regions) <= 60  # 36 were asked for
    pure = 0
    for label in labels.unique():
        share = cell[labels == label].mean().item()
        pure += (labels == label).sum().item() * max(share, 1 - share)
    squares = make_regions(x, "grid", 8, 0.1)
    by_squares = sum(
        (squares == label).sum().item()
        * max(cell[squares == label].mean().item(), 1 - cell[squares == label].mean().item())
        for label in squares.unique()
    )
    # pixels that are on the majority's side of the border in their region
    assert pure / cell.numel() > 0.97
    assert by_squares / cell.numel() < 0.95


def test_regions_of_the_user_are_summed_on_the_image(classifier, image) -> None:
    labels = np.zeros((16, 16), dtype=np.uint16)
    labels[4:9, 6:12] = 3
    plain = attribute(classifier, image, "lrp", "treated")
    found = attribute(
        classifier, image, "lrp", "treated",
        regions=labels, wrapper="pooled", wrapper_options={"by": "regions"},
    )  # fmt: skip
    (region,) = found.regions
    assert region.label == 3
    assert region.value == pytest.approx(plain.joint[4:9, 6:12].sum(), rel=1e-4)
    assert found.gap == plain.gap  # the sum is the same
    assert found.record.details["regions"][0]["label"] == 3


def test_labels_that_are_missing_are_asked_for(wrap_function) -> None:
    wrapped = wrap_function(torch.zeros(1, 1, 8, 8), random_evidence)
    with pytest.raises(ParameterError, match="expected labels for pooled"):
        pooled(wrapped, by="regions")
