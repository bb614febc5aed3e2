import torch

from napari_why.networks import build_network


def build(**parameters):
    return build_network("cam_net", input_channels=2, classes=3, size=32, **parameters)


def test_each_block_halves_the_maps() -> None:
    maps = build().eval().feature_maps(torch.zeros(1, 2, 32, 32))
    shapes = [tuple(m.shape[1:]) for m in maps.values()]
    assert shapes == [(32, 16, 16), (64, 8, 8), (128, 4, 4), (256, 2, 2)]


def test_logits_are_the_class_weights_times_the_pooled_maps() -> None:
    network = build().eval()
    x = torch.randn(2, 2, 32, 32)
    pooled = network.encode(x).mean((2, 3))
    expected = pooled @ network.linear_head_weights.T + network.classifier.linear.bias
    torch.testing.assert_close(network(x), expected)


def test_joint_loss_adds_a_classifier_to_every_earlier_block() -> None:
    network = build(joint_loss=True).train()
    maps = network.feature_maps(torch.randn(4, 2, 32, 32))
    auxiliary = network.auxiliary_logits(maps)
    assert list(auxiliary) == ["block1", "block2", "block3"]
    assert all(logits.shape == (4, 3) for logits in auxiliary.values())
    assert list(network.block_logits(maps)) == ["block1", "block2", "block3", "block4"]
    torch.testing.assert_close(network.block_logits(maps)["block4"], network.head(maps["block4"]))
    sum(logits.sum() for logits in auxiliary.values()).backward()
    assert network.block_classifiers["block1"].linear.weight.grad is not None


def test_block_weights_make_class_activation_maps_at_every_depth() -> None:
    network = build(joint_loss=True).eval()
    maps = network.feature_maps(torch.randn(1, 2, 32, 32))
    for name, weights in network.block_weights().items():
        cam = torch.einsum("ck,nkhw->nchw", weights, maps[name])
        head = network.block_classifiers[name] if name != "block4" else network.classifier
        expected = network.block_logits(maps)[name] - head.linear.bias
        torch.testing.assert_close(cam.mean((2, 3)), expected, atol=1e-5, rtol=1e-4)


def test_without_joint_loss_there_is_one_classifier() -> None:
    network = build()
    assert network.auxiliary_logits(network.feature_maps(torch.zeros(1, 2, 32, 32))) == {}
    assert list(network.block_weights()) == ["block4"]
