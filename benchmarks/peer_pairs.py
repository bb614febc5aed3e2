"""What napari-why and other programs both do, as pairs of equal work; ``peers.py`` prints the table."""

import copy
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import inversion
import numpy as np
import occlusion as occlusion_benchmark
import torch
import torch.nn.functional as F
from side_by_side import Pair, Work, installed, missing
from torch import Tensor, nn

from napari_why.attribution import METHODS, Evidence, explaining
from napari_why.attribution.class_activation_maps import with_channels_at_mean
from napari_why.images import make_image, read, write
from napari_why.networks import build_network, invert
from napari_why.networks.network import Network
from napari_why.training import TensorExamples, TrainingOptions, train_network

TARGET = 1  # the class that is explained
STEPS = 32  # of integrated gradients, on both sides
ALONE = "of the image, and of it without each channel"


@dataclass(frozen=True)
class Case:
    """A network, the same in torch's own layout, and an image."""

    name: str
    network: Network
    plain: Network
    x: Tensor

    @classmethod
    def of(cls, name: str, size: int) -> "Case":
        """Build one with random weights and statistics."""
        network, x = occlusion_benchmark.make_case(name, size, 2)
        plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
        for each in (network, plain):
            each.requires_grad_(False)
        return cls(f"{name} {size}", network, plain, x)

    def ours(self, method: str, *, guarded: bool = True, **options: Any) -> Work:
        """Return our method's work, with the guard that leaves the network bit-identical, or without."""
        function = METHODS[method].function

        def work() -> Evidence:
            with explaining(self.network) if guarded else nullcontext():
                found: Evidence = function(self.network, self.x, TARGET, **options)
            return found

        return work


class Chain(nn.Module):
    """A small_cnn or cam_net as modules alone, as captum's LRP and zennit want it."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.maps = nn.Sequential(
            *(layer for block in network.chain for layer in block), network.classifier[0]
        )
        self.linear = network.classifier[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        return self.linear(self.maps(x).flatten(1))  # captum has no rule for nn.Flatten


NETWORKS = ("small_cnn", "cam_net", "iresnet", "resnext50")


def gradients(sizes: tuple[int, ...]) -> Iterator[Pair]:
    """Yield saliency, integrated gradients and DeepLIFT, beside captum."""
    from captum.attr import DeepLift, IntegratedGradients, Saliency

    for name in NETWORKS:
        for size in sizes:
            case = Case.of(name, size)
            x, plain = case.x, case.plain
            yield Pair(
                f"saliency, {case.name}",
                "captum",
                case.ours("saliency"),
                lambda x=x, plain=plain: Saliency(plain).attribute(
                    x.clone().requires_grad_(), target=TARGET, abs=False
                ),
            )
            yield Pair(
                f"DeepLIFT, {case.name}",
                "captum",
                case.ours("deeplift"),
                lambda x=x, plain=plain: DeepLift(plain).attribute(
                    x, torch.zeros_like(x), target=TARGET
                ),
            )
            if name == "resnext50":  # takes minutes, and says what its saliency says
                continue
            yield Pair(
                f"integrated gradients, {STEPS} steps, {case.name}",
                "captum",
                case.ours("integrated_gradients", steps=STEPS),
                lambda x=x, plain=plain: IntegratedGradients(plain).attribute(
                    x,
                    torch.zeros_like(x),
                    target=TARGET,
                    n_steps=STEPS,
                    method="gausslegendre",
                    internal_batch_size=1,
                ),
            )


def class_activation(sizes: tuple[int, ...]) -> Iterator[Pair]:
    """Yield Grad-CAM at the last layer, beside captum and pytorch-grad-cam."""
    from captum.attr import LayerGradCam

    peer = installed("pytorch_grad_cam")
    for name in ("cam_net", "resnext50"):
        for size in sizes:
            case = Case.of(name, size)
            layers = dict(case.plain.named_modules())
            last = layers[{"cam_net": "blocks.block4", "resnext50": "backbone.layer4"}[name]]
            # ours tells what each channel adds, which takes a pass of the image without it
            task, ours, x = (
                f"Grad-CAM, {case.name}",
                case.ours("grad_cam"),
                with_channels_at_mean(case.x),
            )
            yield Pair(
                task,
                "captum",
                ours,
                lambda x=x, plain=case.plain, last=last: LayerGradCam(plain, last).attribute(
                    x.clone().requires_grad_(), target=TARGET
                ),
                ALONE,
            )
            if peer is None:
                yield missing(task, "pytorch-grad-cam", ours)
                continue

            def theirs(x: Tensor = x, plain: Network = case.plain, last: Any = last) -> None:
                targets = [peer.utils.model_targets.ClassifierOutputTarget(TARGET)] * len(x)
                with peer.GradCAM(plain, [last]) as method:
                    method(x.clone().requires_grad_(), targets)

            yield Pair(task, "pytorch-grad-cam", ours, theirs, ALONE)


def relevance(sizes: tuple[int, ...]) -> Iterator[Pair]:
    """Yield LRP: epsilon for linear layers, z-plus for convolutions; captum and zennit see plain chains."""
    from captum.attr import LRP
    from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule

    zennit, autolrp = installed("zennit.composites"), installed("autolrp")
    for name in NETWORKS:
        for size in sizes:
            case = Case.of(name, size)
            task, ours, x = f"LRP, {case.name}", case.ours("lrp"), case.x
            yield Pair(
                task,
                "one gradient",
                case.ours("lrp", guarded=False),
                case.ours("saliency", guarded=False),
                "ours, both: LRP takes 1 / ratio gradients",
            )
            if name in ("small_cnn", "cam_net"):
                chain = Chain(copy.deepcopy(case.plain))

                def captums(x: Tensor = x, chain: Chain = chain) -> None:
                    for module in chain.modules():
                        if isinstance(module, nn.Conv2d):
                            module.rule = Alpha1_Beta0_Rule()
                        if isinstance(module, nn.BatchNorm2d | nn.Linear | nn.AdaptiveAvgPool2d):
                            module.rule = EpsilonRule()
                    LRP(chain).attribute(x.clone().requires_grad_(), target=TARGET)

                yield Pair(task, "captum", ours, captums)
                yield _zennits(task, ours, x, Chain(copy.deepcopy(case.plain)), zennit)
            yield _autolrps(task, ours, x, case.plain, autolrp)


def _zennits(task: str, ours: Work, x: Tensor, chain: Chain, composites: Any) -> Pair:
    if composites is None:
        return missing(task, "zennit", ours)
    from zennit.attribution import Gradient
    from zennit.torchvision import SequentialMergeBatchNorm

    chosen = F.one_hot(torch.tensor([TARGET]), 2).float()

    def work() -> None:
        composite = composites.EpsilonPlus(canonizers=[SequentialMergeBatchNorm()])
        with Gradient(chain, composite) as attributor:
            attributor(x.clone().requires_grad_(), chosen)

    return Pair(task, "zennit", ours, work)


def _autolrps(task: str, ours: Work, x: Tensor, plain: Network, autolrp: Any) -> Pair:
    if autolrp is None:
        return missing(task, "autolrp", ours)

    def work() -> None:
        image = autolrp.tensor(x.clone())
        plain(image)[0, TARGET].lrp(config=autolrp.LRPConfig.composite())

    return Pair(task, "autolrp", ours, work)


def inverses(sizes: tuple[int, ...]) -> Iterator[Pair]:
    """Yield the i-ResNet's inverse, and the published algorithm with equal weights."""
    for size in sizes:
        network = inversion.trained(size, 5, 0, {})
        x = torch.randn(1, 2, size, size)
        frozen = copy.deepcopy(network)
        frozen.freeze()
        with torch.no_grad():
            latents = network.last_latent(x), frozen.last_latent(x)
        yield Pair(
            f"i-ResNet inverse, {size}",
            "published algorithm",
            lambda frozen=frozen, latent=latents[1]: invert(frozen, latent),
            lambda network=network, latent=latents[0]: inversion.published_inverse(network, latent),
            f"{inversion.PUBLISHED_ITERATIONS} iterations without a stopping test",
        )


def trainings(sizes: tuple[int, ...]) -> Iterator[Pair]:
    """Yield an epoch, and a plain loop with equal arithmetic."""
    images, batch = 320, 20
    options = TrainingOptions(
        epochs=1,
        batch_size=batch,
        learning_rate=1e-3,
        optimiser="adam",
        schedule="step",
        step_size=100,
        step_decay=1.0,
        label_smoothing=0,
        jitter=0,
        averaging=0,
        augment=False,
        threads=1,
        device="cpu",
    )
    size = min(sizes)
    x, y = torch.randn(images, 2, size, size), torch.arange(images) % 2
    for name in ("small_cnn", "cam_net", "iresnet"):
        network = build_network(name, input_channels=2, classes=2, size=size, seed=0)
        other = copy.deepcopy(network)

        def plain(network: Network = other) -> None:
            optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
            network.train()
            for chosen in torch.randperm(images).split(batch):
                loss = F.cross_entropy(network(x[chosen]), y[chosen])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                loss.item()  # every loop looks at its loss

        yield Pair(
            f"training, {images // batch} steps of {batch}, {name} {size}",
            "plain loop",
            lambda network=network: train_network(network, TensorExamples(x, y), None, options),
            plain,
        )


def openings(folder: Path, side: int) -> Iterator[Pair]:
    """Yield a pair of channels from the disk's cache: as one OME-TIFF, and as a file for each."""
    import tifffile

    pixels = np.random.default_rng(0).integers(0, 4000, (2, side, side)).astype(np.uint16)
    both = write(make_image(pixels, "cyx", ("DAPI", "TMRM")), folder / "both.ome.tif")
    alone = [folder / f"field_{name}.tif" for name in ("DAPI", "TMRM")]
    for path, plane in zip(alone, pixels, strict=True):
        tifffile.imwrite(path, plane)
    bioio = installed("bioio")
    readers = {
        "tifffile": lambda path: tifffile.imread(path),
        "bioio": None if bioio is None else lambda path: bioio.BioImage(path).data,
    }
    for peer, reader in readers.items():
        for task, ours, paths in (
            (f"opening 2 x {side} px, OME-TIFF", lambda: read(both).values, [both]),
            (f"opening 2 x {side} px, two TIFFs", lambda: read(tuple(alone)).values, alone),
        ):
            if reader is None:
                yield missing(task, peer, ours)
                continue
            yield Pair(
                task,
                peer,
                ours,
                lambda reader=reader, paths=paths: np.stack([reader(path) for path in paths]),
                "ours names channels and pixel size, and checks the file",
            )
