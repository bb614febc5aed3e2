from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnext50_32x4d

from napari_why.core.errors import ModelFileError, OfflineError, ParameterError
from napari_why.networks import build_network
from napari_why.networks.resnext50 import imagenet_path


def build(**parameters):
    arguments = {"input_channels": 3, "classes": 2, "size": 64} | parameters
    return build_network("resnext50", **arguments).eval()


@pytest.fixture(scope="module")
def original() -> torch.nn.Module:
    """Return torchvision's network with lively batch norm statistics."""
    torch.manual_seed(0)
    network = resnext50_32x4d(weights=None).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network


@pytest.fixture
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder in which torch looks for its downloads."""
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path


def test_imagenet_weights_in_torchs_folder_are_used_and_give_torchvisions_maps(
    torch_home: Path, original: torch.nn.Module
) -> None:
    imagenet_path().parent.mkdir(parents=True)
    assert imagenet_path().is_relative_to(torch_home)
    torch.save(original.state_dict(), imagenet_path())
    network = build(weights="imagenet")
    x = torch.randn(1, 3, 64, 64)
    expected = torch.nn.Sequential(*list(original.children())[:-2])(x)
    torch.testing.assert_close(network.encode(x), expected)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_local_file_of_weights(tmp_path: Path, original: torch.nn.Module, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    state = original.state_dict()
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    network = build(weights=str(path))
    loaded = network.backbone.get_parameter("layer3.2.conv2.weight")
    assert torch.equal(loaded, state["layer3.2.conv2.weight"])


def test_offline_says_the_ways_on(torch_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(OfflineError) as error:
        build(weights="imagenet")
    for way in (str(imagenet_path()), "download.pytorch.org", "weights=PATH", "weights='random'"):
        assert way in str(error.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"nowhere\.pth"):
        build(weights=str(tmp_path / "nowhere.pth"))


class Boom:
    """What a malicious pickle would do when loaded."""

    def __reduce__(self):
        return (Path.touch, (Path("boom"),))


@pytest.mark.parametrize(
    "content", [{"conv1.weight": torch.zeros(1)}, {"a": "text"}, [1, 2], {"a": Boom()}]
)
def test_file_that_does_not_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(ModelFileError, match=r"odd\.pth"):
        build(weights=str(tmp_path / "odd.pth"))
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_broken_file_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(b"not weights")
    with pytest.raises(ModelFileError, match="cannot be read"):
        build(weights=str(path))


@pytest.fixture(scope="module")
def random_network():
    return build(weights="random", input_channels=2)


def test_thesis_head_is_the_default(random_network) -> None:
    assert random_network.linear_head_weights is None
    x = torch.zeros(1, 2, 64, 64)
    assert random_network(x).shape == (1, 2)


def test_linear_head_has_class_weights() -> None:
    weights = build(weights="random", head="linear").linear_head_weights
    assert weights is not None
    assert weights.shape == (2, 2048)


def test_rebuilding_asks_for_no_download(random_network) -> None:
    assert random_network.configuration()["weights"] == "random"


def test_composite_is_not_trained(random_network) -> None:
    assert not random_network.composite.weight.requires_grad
    assert random_network.backbone.get_parameter("conv1.weight").requires_grad
