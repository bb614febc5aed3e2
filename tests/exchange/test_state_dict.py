"""State dicts of torchvision, timm and this package: numbers alone, the same logits, no code."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

import napari_why as why
from napari_why.attribution import attribute
from napari_why.core.errors import ModelFileError, ParameterError, UnsupportedNetworkError, WhyError
from napari_why.networks import build_network

from .conftest import SIZE, probabilities

NAMES = {"classes": "diseased,treated", "channels": "DAPI,TMRM", "size": SIZE}
# One of each way in which torchvision puts its networks together.
OF_TORCHVISION = ("resnet18", "densenet121", "mobilenet_v2", "mobilenet_v3_small", "convnext_tiny")


def theirs(architecture: str, channels: int = 3) -> nn.Module:
    """Return a network of torchvision for some channels, as its users make one."""
    torch.manual_seed(1)
    model = models.get_model(architecture, weights=None, num_classes=2)
    name, first = next(
        (name, part) for name, part in model.named_modules() if isinstance(part, nn.Conv2d)
    )
    if channels != first.in_channels:
        made = nn.Conv2d(
            channels,
            first.out_channels,
            first.kernel_size,
            first.stride,
            first.padding,
            bias=first.bias is not None,
        )
        holder, _, last = name.rpartition(".")
        setattr(model.get_submodule(holder), last, made)
    return settled(model, channels)


def settled(model: nn.Module, channels: int) -> nn.Module:
    """Give normalisations the statistics of noise: without any, deep networks answer 0 to all."""
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
    with torch.no_grad():
        model.train()(
            torch.randn(4, channels, 128, 128, generator=torch.Generator().manual_seed(1))
        )
    return model.eval()


def logits(model: nn.Module, classifier: why.Classifier, scenes) -> tuple[torch.Tensor, ...]:
    x = classifier.prepare(scenes.image(0))
    with torch.no_grad():
        return model(x), classifier.logits(x)


@pytest.mark.parametrize("architecture", OF_TORCHVISION)
def test_a_network_of_torchvision_gives_its_own_logits(scenes, tmp_path, architecture) -> None:
    model = theirs(architecture, channels=2)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    classifier = why.import_model(
        tmp_path / "weights.pth", NAMES, architecture=f"torchvision/{architecture}", std="1000"
    )
    wanted, found = logits(model, classifier, scenes)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert wanted.abs().max() > 1e-3


def test_it_is_a_whole_network_with_gradients_layers_and_a_folder(scenes, tmp_path) -> None:
    save_file(theirs("resnet18", 2).state_dict(), tmp_path / "weights.safetensors")
    classifier = why.import_model(
        tmp_path / "weights.safetensors", NAMES, architecture="torchvision/resnet18", std="1000"
    )
    for method in ("grad_cam", "cam", "saliency", "lrp"):
        found = attribute(classifier, scenes.image(0), method)
        assert abs(found.joint).max() > 0, method
    classifier.save(tmp_path / "model")
    with pytest.warns(UserWarning, match="another program"):
        loaded = why.load(tmp_path / "model")
    assert loaded.fingerprint == classifier.fingerprint
    assert (probabilities(loaded, scenes) == probabilities(classifier, scenes)).all()


def test_a_network_of_timm_gives_its_own_logits(scenes, tmp_path) -> None:
    torch.manual_seed(1)
    model = timm.create_model("resnet10t", pretrained=False, num_classes=2, in_chans=2).eval()
    # as Lightning and DataParallel keep it
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "last.pt")
    classifier = why.import_model(
        tmp_path / "last.pt", NAMES, architecture="timm/resnet10t", std="1000"
    )
    wanted, found = logits(model, classifier, scenes)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert abs(attribute(classifier, scenes.image(0), "grad_cam").joint).max() > 0
    classifier.save(tmp_path / "model")
    with pytest.warns(UserWarning, match="another program"):
        assert why.load(tmp_path / "model").fingerprint == classifier.fingerprint


def test_a_network_of_this_package_is_loaded_by_its_name(scenes, tmp_path) -> None:
    own = build_network("small_cnn", input_channels=2, classes=2, size=SIZE, seed=4)
    own.freeze()
    save_file({k: v.contiguous() for k, v in own.state_dict().items()}, tmp_path / "a.safetensors")
    classifier = why.import_model(
        tmp_path / "a.safetensors", NAMES, architecture="small_cnn", std="1000"
    )
    wanted, found = logits(own, classifier, scenes)
    assert torch.equal(found, wanted)


class Evil:
    """What a pickle may be: code that runs when it is read."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('code of the file ran')",)


@pytest.mark.parametrize("ending", ["pt", "pth", "bin"])
def test_no_code_of_a_file_runs(tmp_path: Path, ending) -> None:
    path = tmp_path / f"weights.{ending}"
    torch.save({"weight": Evil()}, path)
    with pytest.raises(ModelFileError, match="cannot be read"):
        why.import_model(path, NAMES, architecture="torchvision/resnet18")
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ModelFileError, match="cannot be read"):
        why.import_model(path, NAMES, architecture="torchvision/resnet18")


@pytest.mark.parametrize(
    ("architecture", "error", "said"),
    [
        ("", ParameterError, "numbers alone"),
        ("keras/resnet18", ParameterError, "torchvision or timm"),
        ("torchvision/resnet999", ParameterError, "does not have"),
        ("timm/resnet999", ParameterError, "does not have"),
        ("lenet", ParameterError, "found 'lenet'"),
        ("torchvision/resnet34", ModelFileError, "differ from torchvision/resnet34"),
        ("torchvision/vit_b_16", UnsupportedNetworkError, "not known here"),
    ],
)
def test_another_architecture_is_refused_in_words(tmp_path, architecture, error, said) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(theirs("resnet18", 2).state_dict(), path)
    with pytest.raises(error, match=said):
        why.import_model(path, NAMES | {"size": 224}, architecture=architecture)


def test_other_channels_or_classes_than_the_numbers_have_are_refused(tmp_path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(theirs("resnet18", 2).state_dict(), path)
    for change in ({"channels": "a,b,c"}, {"classes": "a,b,c"}):
        with pytest.raises(ModelFileError, match="check architecture, channels and classes"):
            why.import_model(path, NAMES | change, architecture="torchvision/resnet18")


def test_a_transformer_that_makes_no_maps_is_refused_when_it_is_used(scenes, tmp_path) -> None:
    model = timm.create_model(
        "vit_tiny_patch16_224", pretrained=False, num_classes=2, in_chans=2, img_size=224
    )
    path = tmp_path / "vit.safetensors"
    save_file(model.state_dict(), path)
    with pytest.raises(WhyError, match="of feature maps"):
        classifier = why.import_model(
            path, NAMES | {"size": 224}, architecture="timm/vit_tiny_patch16_224"
        )
        classifier.predict(scenes.image(0))


def test_maps_of_a_timm_model_that_keeps_channels_last_are_told_so(scenes, tmp_path) -> None:
    torch.manual_seed(1)
    model = timm.create_model("mambaout_femto", pretrained=False, num_classes=2, in_chans=2).eval()
    assert model.output_fmt == "NHWC"
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    classifier = why.import_model(
        tmp_path / "weights.pt",
        NAMES | {"size": 96},
        architecture="timm/mambaout_femto",
        std="1000",
    )
    wanted, found = logits(model, classifier, scenes)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    x = classifier.prepare(scenes.image(0))
    with torch.no_grad():
        theirs_last = model.forward_features(x)
        maps = classifier.network.encode(x)
    assert maps.shape == (1, model.num_features, 3, 3)
    torch.testing.assert_close(maps, theirs_last.permute(0, 3, 1, 2))
    # by hand: mean gradients of a class's logit weigh the maps
    last = theirs_last.clone().requires_grad_()
    model.forward_head(last)[0, 1].backward()
    by_hand = (last * last.grad.mean(dim=(1, 2), keepdim=True)).sum(-1)[0].detach().numpy()
    seen = attribute(classifier, scenes.image(0), "grad_cam", "treated").joint
    centres = seen[16::32, 16::32]  # of what each position of the 3 x 3 maps stands for
    assert ((centres > 0) == (by_hand > 0)).all()
    assert np.corrcoef(centres.ravel(), by_hand.ravel())[0, 1] > 0.99


def test_maps_whose_axes_are_not_as_said_are_refused() -> None:
    network = build_network(
        "timm", input_channels=2, classes=2, size=96, architecture="resnet10t"
    ).eval()
    forward = network.encoder.model.forward_features
    network.encoder.model.forward_features = lambda x: forward(x).permute(0, 2, 3, 1)
    with pytest.raises(UnsupportedNetworkError, match="then rows and columns"):
        network.encoder(torch.zeros(1, 2, 96, 96))
