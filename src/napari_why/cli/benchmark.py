"""``napari-why benchmark`` and ``demo``: on simulated images, or on yours."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from napari_why.cli import arguments
from napari_why.cli.application import Verb
from napari_why.cli.long_work import INCOMPLETE, LongWork
from napari_why.core.errors import ParameterError
from napari_why.core.targets import refuse_sources, reserve, try_target

if TYPE_CHECKING:
    from napari_why.benchmark import MapProtocol, PlantedProtocol, Protocol

# Empty stands for all: which there are is known to the benchmark, whose room imports torch.
Names = Annotated[str, typer.Option(help="With commas between; all by default.")]
# Of scenes to train on: one well of each class for each part, and an epoch to choose.
FEWEST_TRAINED = 8


# Defaults, here and in the verb, are those of the protocol that docs/truth-benchmark.md reports, so
# that a run without options is that benchmark.
@dataclass(frozen=True, kw_only=True)
class SceneOptions:
    """How many simulated scenes there are and what they look like: for truth, the first few for attribution."""

    scenes: Annotated[
        Literal["validation", "test"],
        typer.Option(help="validation: to choose by; test: to report."),
    ] = "test"
    final: Annotated[
        bool,
        typer.Option(
            "--final",
            help="The final scenes, in place of those: to be looked at once, when all is settled.",
        ),
    ] = False
    training: Annotated[
        int,
        typer.Option(help="Scenes to train on, 8 or more; 0: 400, for attribution 160.", min=0),
    ] = 0
    strength: Annotated[float, typer.Option(help="Of the effect.", min=0, max=2)] = 1.0
    density: Annotated[
        tuple[float, float], typer.Option(help="Fewest and most cells per 64 x 64 pixels.")
    ] = (2.0, 6.0)
    gain: Annotated[float, typer.Option(help="Grey levels per photon.", min=0.01)] = 12.0
    read_noise: Annotated[float, typer.Option(help="In photons.", min=0)] = 3.0
    photons: Annotated[
        float, typer.Option(help="Factor on the light; less light is more noise.", min=0.001)
    ] = 1.0

    def __post_init__(self) -> None:
        if 0 < self.training < FEWEST_TRAINED:
            raise ParameterError(
                f"--training: found {self.training}; expected {FEWEST_TRAINED} or more, or 0"
            )

    @property
    def trained(self) -> int:
        """How many scenes, or tiles, counterfactuals are trained on."""
        from napari_why.benchmark import Protocol

        return self.training or Protocol.training

    def make_protocol(self, *, size: int, epochs: int, scored: int) -> "Protocol":
        """Return the protocol of the benchmark of known truth.

        Parameters
        ----------
        size : int
            Height and width of a scene in pixels.
        epochs : int
            Of the classifiers; 0 for the protocol's own.
        scored : int
            Images per direction.

        Returns
        -------
        Protocol
        """
        from napari_why.benchmark import Protocol
        from napari_why.simulation import Camera

        plain = Camera()
        # Light and background by one factor: more exposure brings more of both.
        camera = Camera(
            signal=(plain.signal[0] * self.photons, plain.signal[1] * self.photons),
            background=plain.background * self.photons,
            gain=self.gain,
            read_noise=self.read_noise,
        )
        return Protocol(
            scenes="final" if self.final else self.scenes,
            size=size,
            training=self.trained,
            # A fifth, as 80 are of 400; of few scenes a few, for an epoch is chosen by them.
            held_out=max(8, self.trained // 5),
            scored=scored or Protocol.scored,
            strength=self.strength,
            density=self.density,
            camera=camera,
            epochs=epochs or Protocol.epochs,
        )


@dataclass(frozen=True, kw_only=True)
class PlantingOptions:
    """How a change is planted into real images: for planted alone."""

    tile: Annotated[int, typer.Option(help="For planted: side of the tiles.", min=16)] = 64
    overlap: Annotated[
        float,
        typer.Option(help="For planted: share of a tile that the next repeats.", min=0, max=0.9),
    ] = 0.0
    channel: Annotated[
        str | None,
        typer.Option(
            help="For planted: name or number, from 0, of the channel to change, or two with a comma."
        ),
    ] = None
    nuclei: Annotated[
        str | None, typer.Option(help="For planted: name or number of the channel of the nuclei.")
    ] = None
    gradient: Annotated[
        float,
        typer.Option(help="For planted: strength of uneven light, a nuisance.", min=0, max=2),
    ] = 0.0
    gradient_share: Annotated[
        float,
        typer.Option(
            help="For planted: share of planted tiles with uneven light; 0.5 tells nothing of the "
            "class.",
            min=0,
            max=1,
        ),
    ] = 0.5

    def make_protocol(
        self,
        scene: SceneOptions,
        *,
        intensity: Literal["linear", "log1p", "asinh"],
        epochs: int,
        scored: int,
    ) -> "PlantedProtocol":
        """Return the protocol of the benchmark of planted changes.

        Parameters
        ----------
        scene : SceneOptions
            Their set, strength and number of training images count here too.
        intensity : {"linear", "log1p", "asinh"}
            Of the preprocessing.
        epochs : int
            Of the classifiers; 0 for the protocol's own.
        scored : int
            Tiles per direction.

        Returns
        -------
        PlantedProtocol

        Raises
        ------
        ParameterError
            Final scenes are asked for, which there are of known truth alone.
        """
        from napari_why.benchmark import PlantedProtocol
        from napari_why.simulation import PlantOptions

        if scene.final:
            raise ParameterError(
                "--final: found it for planted changes; expected it for truth alone"
            )
        return PlantedProtocol(
            scenes=scene.scenes,
            options=PlantOptions(strength=scene.strength, **asdict(self)),
            training=scene.trained,
            held_out=max(8, scene.trained // 5),  # as of scenes
            scored=scored or PlantedProtocol.scored,
            intensity=intensity,
            epochs=epochs or PlantedProtocol.epochs,
        )


@dataclass(frozen=True, kw_only=True)
class MapOptions:
    """Which networks are explained, and how much a method may ask them: for attribution alone."""

    networks: Annotated[
        str,
        typer.Option(
            help="For attribution: the networks that are explained, with commas between; iresnet, "
            "cam_net and resnext50 by default."
        ),
    ] = ""
    passes: Annotated[
        int,
        typer.Option(
            help="For attribution: images that a method may send through a network for all maps of it; "
            "one that needs more gets fewer maps, two at least.",
            min=1,
        ),
    ] = 400
    samples: Annotated[
        int,
        typer.Option(help="For attribution: most random draws of a method for one map.", min=2),
    ] = 200

    def make_protocol(
        self, scene: SceneOptions, *, size: int, epochs: int, scored: int
    ) -> "MapProtocol":
        """Return the protocol of the benchmark of attribution.

        Parameters
        ----------
        scene : SceneOptions
            Their set, density and number of training images count here too.
        size : int
            Height and width of a scene in pixels.
        epochs : int
            Of the classifiers; 0 for the protocol's own.
        scored : int
            Scenes whose maps are judged; 0 for the protocol's own.

        Returns
        -------
        MapProtocol

        Raises
        ------
        ParameterError
            An option of the scenes of truth alone.
        """
        from napari_why.benchmark import MapProtocol

        taken = {name: getattr(scene, name) for name in ("scenes", "training", "density")}
        if scene != replace(SceneOptions(), **taken):
            raise ParameterError(
                "--final, --strength, --gain, --read-noise, --photons: found one of them for "
                "attribution; expected them for truth alone"
            )
        training = scene.training or MapProtocol.training
        return MapProtocol(
            scenes=scene.scenes,
            size=size,
            density=scene.density,
            training=training,
            # about a third: of fewer the best of a few epochs is chosen by chance
            held_out=max(8, training // 3),
            epochs=epochs or MapProtocol.epochs,
            scored=scored or MapProtocol.scored,
            judged=max(MapProtocol.judged, scored),
            passes=self.passes,
            samples=self.samples,
        )


def read_seeds(text: str) -> Sequence[int]:
    """Return seeds from how many there are ("3"), or from their numbers ("0,1,2").

    Raises
    ------
    ParameterError
        Neither.

    Examples
    --------
    >>> list(read_seeds("2")), read_seeds("4,7"), read_seeds("0,")
    ([0, 1], [4, 7], [0])
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    numbers = [int(part) for part in parts if part.isdecimal()]
    single = "," not in text
    if len(numbers) < len(parts) or not parts or (single and numbers[0] < 1):
        raise ParameterError(
            f"--seeds: found {text!r}; expected how many (3), or their numbers with commas between (0,1,2)"
        )
    return range(numbers[0]) if single else numbers


def benchmark(
    images: Annotated[
        Literal["truth", "planted", "real", "attribution"],
        typer.Argument(
            help="Simulated scenes of known truth, your images with a change planted into them, or a "
            "data set of your own; attribution: maps on simulated scenes."
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Argument(
            help="For planted and real: a folder with one sub-folder a class, or a table (CSV); for "
            "planted also a folder of images."
        ),
    ] = None,
    *,
    out: Annotated[
        Path,
        typer.Option(help="Folder for results, classifiers, tables and figures; goes on there."),
    ] = Path("benchmark"),
    effects: Names = "",
    methods: Names = "",
    seeds: Annotated[
        str,
        typer.Option(help="How many, or which ones with commas between (0,1,2); each trains anew."),
    ] = "3",
    size: Annotated[int, typer.Option(help="Height and width in pixels.", min=16)] = 64,
    epochs: Annotated[
        int,
        typer.Option(
            help="Of the classifiers; 0: 12 on scenes, 6 for attribution, the network's own else.",
            min=0,
        ),
    ] = 0,
    scored: Annotated[
        int, typer.Option(help="Images per direction; 0: 50, for attribution 6.", min=0)
    ] = 0,
    intensity: Annotated[
        Literal["linear", "log1p", "asinh"],
        typer.Option(help="For planted and real: how intensities are mapped."),
    ] = "linear",
    group: arguments.Group = "auto",
    channels: arguments.Channels = None,
    scene: SceneOptions,
    planting: PlantingOptions,
    maps: MapOptions,
) -> None:
    """Measure counterfactual or attribution methods side by side and print the table.

    truth: validity on the exported pixels, agreement of a reference classifier, correlation and
    relative error of the change against the true one, off-target ratio, distance to real images
    of the target class, and how little of the change is enough; mean and spread over seeds. Beside
    them what is gained over the better of two trivial changes, one factor per channel and one curve
    of grey levels.

    planted: the same on tiles of real images, half of whose wells (positions, images, bands of a few
    large fields) get a known change. --effects names effects or single directions of theirs:
    brightness (dimming, brightening), redistribution, sharpness, fine_structure, size, fragmentation,
    nuclear_spots, random_spots, gradient, and each with partial_ before it for half of the cells.

    real: the same without the figures that need the truth.

    attribution: every attribution method on scenes whose deciding pixels are known: relevance mass and
    rank, pointing game, overlap, sign, faithfulness and cost, beside rows that ask no network. --effects
    names effects as for truth, or one of a pair: tag.first, tag.second, two_channels.first, ...

    Ctrl-C keeps what is done.
    """
    from napari_why import benchmark as benchmarks
    from napari_why.benchmark.run import REAL_METHODS, RealData
    from napari_why.simulation.planting import read_images

    if (data is None) == (images in ("planted", "real")):
        raise ParameterError(
            "benchmark: expected 'truth' without, or 'real' with, a folder or table of images; 'planted' "
            "takes one too, 'attribution' takes none"
        )
    chosen = read_seeds(seeds)
    refuse_sources(out, [] if data is None else [data])
    try_target(out)
    with LongWork() as work, reserve(out):
        if images == "attribution":
            table = benchmarks.run_attribution_benchmark(
                out,
                networks=arguments.split_names(maps.networks),
                methods=arguments.split_names(methods),
                effects=arguments.split_names(effects),
                seeds=chosen,
                protocol=maps.make_protocol(scene, size=size, epochs=epochs, scored=scored),
                on_event=work.on_event,
                cancelled=work.cancelled,
            )
        elif data is None:
            table = benchmarks.run_truth_benchmark(
                out,
                effects=arguments.split_names(effects),
                methods=arguments.split_names(methods),
                seeds=chosen,
                protocol=scene.make_protocol(size=size, epochs=epochs, scored=scored),
                final=scene.final,
                on_event=work.on_event,
                cancelled=work.cancelled,
            )
        elif images == "planted":
            options = arguments.DatasetOptions(group=group, channels=channels)
            table = benchmarks.run_planted_benchmark(
                out,
                read_images(data) or options.open(data, work),
                effects=arguments.split_names(effects),
                methods=arguments.split_names(methods),
                seeds=chosen,
                protocol=planting.make_protocol(
                    scene, intensity=intensity, epochs=epochs, scored=scored
                ),
                on_event=work.on_event,
                cancelled=work.cancelled,
            )
        else:
            options = arguments.DatasetOptions(group=group, channels=channels)
            table = benchmarks.run_real_benchmark(
                out,
                data.stem,
                options.open(data, work),
                methods=arguments.split_names(methods) or REAL_METHODS,
                seeds=chosen,
                size=size,
                epochs=epochs,
                scored=scored or RealData.scored,
                intensity=intensity,
                on_event=work.on_event,
                cancelled=work.cancelled,
            )
        of_maps = images == "attribution"
        write = benchmarks.write_attribution_report if of_maps else benchmarks.write_report
        say = benchmarks.maps_as_text if of_maps else benchmarks.as_text
        # An interrupted run has a table too, of what is done; without a row there is nothing to draw.
        if len(table):
            write(table, out)
        _mark(out, work, len(table))
    if len(table):
        typer.echo(say(table))
    if work.cancelled():
        typer.echo(_describe_stopped(len(table)))
    work.end_if_interrupted(f"{len(table)} rows are kept in {out}")


def _describe_stopped(rows: int) -> str:
    return f"incomplete: the benchmark was stopped; these are the {rows} rows that were done"


def _mark(folder: Path, work: LongWork, rows: int) -> None:
    """Say beside the tables that they are of a run that was stopped, until one goes through."""
    mark = folder / INCOMPLETE
    if work.cancelled():
        folder.mkdir(parents=True, exist_ok=True)
        mark.write_text(_describe_stopped(rows) + "\n", encoding="utf-8")
    else:
        mark.unlink(missing_ok=True)


def demo(
    *,
    data: Annotated[
        Path | None,
        typer.Option(help="A folder with one sub-folder a class, or a table; else simulated."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for everything that is made.")] = None,
    window: Annotated[
        bool, typer.Option("--window/--no-window", help="Open napari with the result.")
    ] = True,
) -> None:
    """Train on simulated or your own images and show what the classifier sees in one of them."""
    from napari_why.demo import run_demo

    with LongWork(lines=True) as work:
        folder = run_demo(data, out, window, work.on_event, work.cancelled)
    work.end_if_interrupted(f"what was done is in {folder}")


BENCHMARK = Verb("benchmark", benchmark)
DEMO = Verb("demo", demo)
