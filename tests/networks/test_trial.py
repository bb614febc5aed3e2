"""Modules of users that would make explanations false are found when they are wrapped."""

import copy
from collections.abc import Callable
from threading import Lock
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_why.core.errors import UnsupportedNetworkError
from napari_why.networks import wrap


class Does(nn.Module):
    """Any function as a module."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


class Without(nn.Module):
    """A module that is run in a context that takes no gradients."""

    def __init__(self, context: Callable[[], Any]) -> None:
        super().__init__()
        self.context, self.inner = context, encoder()

    def forward(self, x: Tensor) -> Tensor:
        with self.context():
            return self.inner(x)


class NeverEvaluates(nn.BatchNorm2d):
    def train(self, mode: bool = True) -> "NeverEvaluates":
        return super().train(True)


def encoder(*within: nn.Module) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(inplace=True), *within, nn.Conv2d(4, 8, 3), nn.Tanh()
    )


def head(*after: nn.Module, outputs: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, outputs), *after)


def wrapped(parts: tuple[nn.Module, nn.Module], **more: Any) -> Any:
    return wrap(*parts, **{"input_channels": 2, "classes": 3, "name": "mine", **more})


def faulty(kind: str) -> tuple[nn.Module, nn.Module]:
    """Return an encoder and a head with one fault of a kind."""
    within: dict[str, Callable[[Tensor], Any]] = {
        "functional dropout": lambda x: F.dropout(x, 0.1),
        "batch statistics": lambda x: F.batch_norm(x, None, None, training=True),
        "normalised by the batch": lambda x: x / (1 + x.abs().mean()),
        "detach": lambda x: x.detach(),
        "data": lambda x: x.data,
        "numpy": lambda x: torch.from_numpy(x.numpy()),
        # a gradient there is, and it is not that of the function
        "one branch without": lambda x: x / (1 + x.detach().abs().mean((1, 2, 3), keepdim=True)),
        "straight through": lambda x: x + ((3 * x).round() - x).detach(),
        "rounded": lambda x: torch.round(x * 8) / 8,
        "half of them rounded": lambda x: torch.cat([x[:, :2], torch.floor(4 * x[:, 2:])], 1),
        "batch statistics of many": lambda x: x / (1 + x.abs().mean()) if len(x) > 4 else x,
    }
    before: dict[str, Callable[[Tensor], Any]] = {
        "in place": lambda x: x.mul_(2),
        "relu_": torch.relu_,
        "an index": lambda x: x.index_fill_(3, torch.tensor([0]), 0.0),
        # values as standardised images hold them stay as they are
        "clamp_": lambda x: x.clamp_(-20, 20),
        "binarised": lambda x: (x > 1).to(x.dtype) + 0 * x,
        "floor": torch.floor,
        "one channel rounded": lambda x: torch.cat([x[:, :1], x[:, 1:].round()], 1),
    }
    after: dict[str, Callable[[Tensor], Any]] = {
        "softmax by hand": lambda s: s.exp() / s.exp().sum(1, keepdim=True),
        "softmax, an axis": lambda s: F.softmax(s[:, :, None], 1).squeeze(2),
        "logarithm by hand": lambda s: F.softmax(s, 1).log(),
        "twice softmax": lambda s: 2 * F.softmax(s, 1),
        "ten times softmax": lambda s: F.softmax(s, 1).mul(10).neg().neg(),
        "shifted softmax": lambda s: F.softmax(s, 1) + 0.5,
        "softmax by class": lambda s: 3 * F.softmax(s, 1) / torch.tensor([1.0, 2, 3]).to(s) - 1,
        "scaled softmax by hand": lambda s: 7 * s.exp() / s.exp().sum(1, keepdim=True) + 2,
        "softmax, then by hand": lambda s: F.softmax(s, 1) @ torch.ones(3, 3).tril().to(s),
        "softmax, clamped and scaled": lambda s: 2 * F.softmax(s, 1).clamp(1e-6),
        "square of softmax": lambda s: F.softmax(s, 1) ** 2,
        "not a number": lambda s: s * torch.nan,
        "scaled sigmoid": lambda s: 5 * s.sigmoid() - 1,
        "hardsigmoid": F.hardsigmoid,
        "noise": lambda s: s + 1e-3 * torch.randn_like(s),
        "a list": lambda s: [s],
        "a dictionary": lambda s: {"logits": s},
        "an axis too few": lambda s: s.squeeze(),
    }
    if kind in within:
        return encoder(Does(within[kind])), head()
    if kind in before:
        return nn.Sequential(Does(before[kind]), encoder()), head()
    if kind in after:
        return encoder(), head(Does(after[kind]))
    return {
        "in place between": (encoder(), nn.Sequential(Does(torch.relu_), head())),
        "no running statistics": (encoder(nn.BatchNorm2d(4, track_running_stats=False)), head()),
        "never evaluates": (encoder(NeverEvaluates(4)), head()),
        "softmax": (encoder(), head(nn.Softmax(1))),
        "log_softmax": (encoder(), head(nn.LogSoftmax(1))),
        "softmax, then linear": (encoder(), head(nn.Softmax(1), nn.Linear(3, 3))),
        "sigmoid": (encoder(), head(nn.Sigmoid())),
        "one logit": (encoder(), head(outputs=1)),
        "one logit, flat": (encoder(), head(nn.Flatten(0), outputs=1)),
        "other classes": (encoder(), head(outputs=4)),
        "two tensors": (Does(lambda x: (x, x)), head()),
        "no maps": (nn.Sequential(encoder(), nn.Flatten()), head()),
        "one image only": (encoder(Does(lambda x: x.reshape(1, *x.shape[1:]))), head()),
        "no_grad": (Without(torch.no_grad), head()),
        "inference_mode": (Without(torch.inference_mode), head()),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("in place", "the image is changed in place"),
        ("relu_", "the image is changed in place"),
        ("an index", "the image is changed in place"),
        ("clamp_", "the image is changed in place"),
        ("in place between", "the encoder's output is changed in place"),
        ("batch statistics", "the logits of an image hang on the other images"),
        ("no running statistics", "the logits of an image hang on the other images"),
        ("normalised by the batch", "the logits of an image hang on the other images"),
        ("never evaluates", "evaluation mode changes encoder.2.running_mean"),
        ("never evaluates", "the logits of an image hang on the other images"),
        ("functional dropout", "the same image gets other logits each time"),
        ("batch statistics of many", "the logits of an image hang on the other images"),
        ("noise", "the same image gets other logits each time"),
        ("softmax", r"probabilities \(softmax\); expected logits"),
        ("softmax by hand", r"probabilities \(softmax\); expected logits"),
        ("softmax, an axis", r"probabilities \(softmax\); expected logits"),
        ("log_softmax", r"\(log_softmax\); expected logits"),
        ("logarithm by hand", r"\(log_softmax\); expected logits"),
        ("sigmoid", r"probabilities \(sigmoid\); expected logits"),
        ("twice softmax", r"probabilities \(softmax\), multiplied or shifted; expected logits"),
        ("ten times softmax", r"\(softmax\), multiplied or shifted; expected logits"),
        ("shifted softmax", r"\(softmax\), multiplied or shifted; expected logits"),
        ("softmax by class", r"\(softmax\), multiplied or shifted; expected logits"),
        ("scaled softmax by hand", r"\(softmax\), multiplied or shifted; expected logits"),
        ("softmax, clamped and scaled", r"\(softmax\), multiplied or shifted; expected logits"),
        ("square of softmax", r"\(softmax\), multiplied or shifted; expected logits"),
        ("not a number", "the gradient misses what the logits do"),
        ("softmax, then linear", r"what a linear layer makes of probabilities \(softmax\)"),
        ("softmax, then by hand", r"what a linear layer makes of probabilities \(softmax\)"),
        ("scaled sigmoid", r"\(sigmoid\), multiplied or shifted; expected logits"),
        ("hardsigmoid", r"probabilities \(hardsigmoid\)"),
        ("one logit", r"the head gives a tensor \(3, 1\); expected logits .* one logit s"),
        ("one logit, flat", r"the head gives a tensor \(3,\); expected logits .* one logit s"),
        ("other classes", r"\(3, 4\); expected logits \(N, classes\), here \(3, 3\)"),
        ("two tensors", "the encoder gives a tuple of 2; expected one tensor of feature maps"),
        ("a list", "the head gives a list of 1; expected a tensor"),
        ("a dictionary", "the head gives a dict; expected a tensor"),
        ("no maps", "leave pooling and flattening to the head"),
        ("an axis too few", "one image alone is not taken"),
        ("one image only", "one image is taken and a batch of 3 is not"),
        ("no_grad", "no gradient leads from the logits to the image"),
        ("inference_mode", "no gradient"),
        ("detach", "no gradient leads from the logits to the image"),
        ("data", "no gradient leads from the logits to the image"),
        ("numpy", "no gradient can be taken"),
        ("one branch without", "the gradient misses what the logits do"),
        ("straight through", "the gradient misses what the logits do"),
        ("rounded", "the gradient misses what the logits do|the logits jump"),
        ("half of them rounded", "the gradient misses what the logits do|the logits jump"),
        ("binarised", "the gradient misses what the logits do|the logits jump"),
        ("floor", "the gradient misses what the logits do|the logits jump"),
        ("one channel rounded", "the gradient misses what the logits do|the logits jump"),
    ],
)
@pytest.mark.parametrize("size", [None, 40])
def test_every_kind_of_fault_is_refused_in_words(kind: str, words: str, size: int | None) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        parts = faulty(kind)
    with pytest.raises(UnsupportedNetworkError, match=words) as error:
        wrapped(parts, **({} if size is None else {"size": size}))
    assert str(error.value).startswith("mine: ")


def good(kind: str) -> tuple[nn.Module, nn.Module]:
    return {
        "plain": (encoder(), head()),
        "two hidden layers": (encoder(), head(nn.ReLU(), nn.Linear(3, 3))),
        "dropout and batch norm": (
            encoder(nn.BatchNorm2d(4), nn.Dropout2d(0.5)), head(nn.Dropout(0.5)),
        ),
        "other norms": (encoder(nn.GroupNorm(2, 4), nn.InstanceNorm2d(4)), head()),
        # softmax is what attention is made of; in place within, it overwrites nothing that is kept
        "attention": (encoder(Does(lambda x: x * x.flatten(2).softmax(2).view_as(x))), head()),
        "in place within": (
            encoder(nn.Conv2d(4, 4, 1), Does(lambda x: x.add_(1).relu_())), head(),
        ),
        "in place on a copy": (nn.Sequential(Does(lambda x: x.clone().mul_(2)), encoder()), head()),
        "frozen": (encoder().requires_grad_(False), head().requires_grad_(False)),
        "no answer yet": (encoder(), nn.Sequential(head(), Does(lambda s: 0 * s))),
        # (0, 0, -40) is what logarithms of probabilities could be, too
        "sure of it": (encoder(), head(Does(lambda s: s * 0.0 + torch.tensor([0.0, -30, -40])))),
        "one against the rest": (
            encoder(), head(Does(lambda s: F.pad(s[:, :2] * 100 - 500, (1, 0)))),
        ),
        "a float32 tensor of its own": (
            encoder(Does(lambda x: F.conv2d(x, torch.ones(4, 1, 1, 1), groups=4))), head(),
        ),
        "float32 inside": (encoder(Does(lambda x: x.float().tanh().to(x.dtype))), head()),
        # logits may be bounded, and their sum may be the same for all
        "bounded": (encoder(), head(Does(lambda s: 10 * s.tanh()))),
        "cosines": (
            encoder(), head(Does(lambda s: 20 * F.normalize(s, dim=1) @ torch.eye(3).to(s))),
        ),
        "normalised and centred": (
            nn.Sequential(nn.InstanceNorm2d(2), encoder()),
            head(Does(lambda s: s - s.mean(1, keepdim=True) + 1)),
        ),
        "a temperature": (encoder(), head(Does(lambda s: F.log_softmax(s, 1) / 2))),
        "assignments": (
            encoder(nn.Conv2d(4, 4, 1)),
            nn.Sequential(
                nn.Conv2d(8, 16, 1), nn.Softmax(1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                nn.Linear(16, 3),
            ),
        ),
        "sigmoid units": (encoder(), head(nn.Sigmoid(), nn.Linear(3, 3))),
        "gated": (encoder(), head(Does(lambda s: s * F.softmax(s, 1)))),
        "kinks": (
            nn.Sequential(encoder(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.Hardtanh()), head(),
        ),
    }[kind]  # fmt: skip


GOOD = (
    "plain", "two hidden layers", "dropout and batch norm", "other norms", "attention",
    "in place within", "in place on a copy", "frozen", "no answer yet", "sure of it",
    "one against the rest",
    "a float32 tensor of its own", "float32 inside", "bounded", "cosines", "normalised and centred",
    "a temperature", "assignments", "sigmoid units", "gated", "kinks",
)  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", GOOD)
def test_good_modules_pass_and_are_left_as_they_were(kind: str, seed: int) -> None:
    torch.manual_seed(seed)
    parts = good(kind)
    parts[0][0].eval()  # a flag of its own
    before = copy.deepcopy(parts)
    drawn = torch.random.get_rng_state()
    network = wrapped(parts, layers=["0"])
    assert torch.equal(torch.random.get_rng_state(), drawn)
    for part, was in zip(parts, before, strict=True):
        assert part.state_dict().keys() == was.state_dict().keys()
        assert all(torch.equal(v, was.state_dict()[n]) for n, v in part.state_dict().items())
        assert [m.training for m in part.modules()] == [m.training for m in was.modules()]
        assert [p.requires_grad for p in part.parameters()] == [
            p.requires_grad for p in was.parameters()
        ]
        assert all(p.grad is None and p.dtype == torch.float32 for p in part.parameters())
        assert not any(module._forward_hooks for module in part.modules())
    assert network.eval()(torch.zeros(1, 2, 20, 24)).shape == (1, 3)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: (x, x), "layer '2' gives a tuple of 2"),
        (
            lambda x: x.flatten(1).unflatten(1, x.shape[1:])[:, 0],
            r"layer '2' gives a tensor of sha",
        ),
    ],
)
def test_layers_have_to_be_maps(function: Callable[[Tensor], Any], words: str) -> None:
    first = Does(lambda pair: pair[0] if isinstance(pair, tuple) else pair[:, None].expand(-1, 4, -1, -1))  # fmt: skip
    with pytest.raises(UnsupportedNetworkError, match=words):
        wrapped((encoder(Does(function), first), head()), layers=["2"])


def test_layers_have_to_be_called() -> None:
    class Skips(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = encoder(), encoder()

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    with pytest.raises(UnsupportedNetworkError, match="found 'unused', which the encoder never"):
        wrapped((Skips(), head()), layers=["used", "unused"])


def test_maps_that_are_overwritten_are_no_layers() -> None:
    def parts() -> tuple[nn.Module, nn.Module]:
        return encoder(nn.Conv2d(4, 4, 1), Does(torch.relu_)), head()

    # of no harm where the map is not explained
    assert wrapped(parts()).layer_names == ("encoder",)
    with pytest.raises(UnsupportedNetworkError, match="the map of layer '2' is changed in place"):
        wrapped(parts(), layers=["2"])


def fixed(kind: str) -> tuple[nn.Module, nn.Module]:
    """Modules that take images of 20 x 28 pixels alone, which nobody guesses."""
    scale = torch.ones(20, 28)
    softmax = (nn.Softmax(1),) if kind == "faulty" else ()
    return nn.Sequential(Does(lambda x: x * scale), encoder()), head(*softmax)


def test_what_takes_one_size_only_is_tried_with_it_or_with_the_first_image() -> None:
    with pytest.raises(UnsupportedNetworkError, match="softmax"):
        wrapped(fixed("faulty"), size=(20, 28))
    network = wrapped(fixed("faulty")).eval()
    x = torch.zeros(1, 2, 20, 28)
    for ask in (network, network.encode, network.feature_maps):
        with pytest.raises(UnsupportedNetworkError, match="softmax"):
            ask(x)
    good = wrapped(fixed("good")).eval()
    assert good(x).shape == (1, 3)
    assert wrapped(fixed("good"), size=(20, 28)).eval()(x).shape == (1, 3)


def test_what_gets_its_shape_with_the_first_image_is_tried_then() -> None:
    def lazy(*after: nn.Module) -> tuple[nn.Module, nn.Module]:
        return encoder(), nn.Sequential(nn.Flatten(), nn.LazyLinear(3), *after)

    x = torch.zeros(1, 2, 12, 14)
    with pytest.raises(UnsupportedNetworkError, match="softmax"):
        wrapped(lazy(nn.Softmax(1))).eval()(x)
    network = wrapped(lazy()).eval()
    assert network(x).shape == (1, 3)
    assert network.classifier[1].in_features == 8 * 8 * 10


def test_modules_that_cannot_be_copied_are_tried_themselves_and_put_back() -> None:
    class Locked(nn.Module):
        def __init__(self, *after: nn.Module) -> None:
            super().__init__()
            self.lock, self.inner = Lock(), head(*after)

        def forward(self, x: Tensor) -> Tensor:
            with self.lock:
                return self.inner(x)

    assert wrapped((encoder(), Locked())).classifier.training
    with pytest.raises(UnsupportedNetworkError, match="softmax"):
        wrapped((encoder(), Locked(nn.Softmax(1))))
    parts = encoder(NeverEvaluates(4)), Locked()
    with pytest.raises(UnsupportedNetworkError, match="running_mean"):
        wrapped(parts)
    assert not parts[0][2].running_mean.any()


def test_all_that_is_found_is_said_at_once() -> None:
    parts = nn.Sequential(Does(torch.relu_), encoder()), head(nn.Softmax(1), nn.Dropout(0.0))
    with pytest.raises(UnsupportedNetworkError, match=r"in place.* Besides, .*softmax"):
        wrapped(parts)
