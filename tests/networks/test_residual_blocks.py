"""Encoders and decoders for images of any size."""

import pytest
import torch

from napari_why.networks.autoencoder import decoder_blocks, encoder_blocks, map_shapes


@pytest.mark.parametrize("size", [(16, 16), (17, 40), (33, 64), (100, 30)])
def test_the_decoder_ends_at_the_size_the_encoder_began_with(size) -> None:
    widths = (4, 6, 8)
    shapes = map_shapes(size, len(widths))
    encoder, decoder = encoder_blocks(2, widths, shapes), decoder_blocks(2, widths, shapes)
    x = torch.randn(2, 2, *size, generator=torch.Generator().manual_seed(0))
    maps = encoder(x)
    assert maps.shape == (2, 8, *shapes[-1])
    assert min(maps.shape[2:]) >= 4
    assert decoder(maps).shape == x.shape


def test_small_maps_are_halved_no_further() -> None:
    assert map_shapes((16, 16), 4) == [(16, 16), (8, 8), (4, 4), (4, 4), (4, 4)]
