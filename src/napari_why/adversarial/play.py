"""Two networks trained against each other: one loop, whoever the players are."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from napari_why.adversarial.players import settle_spectral_norms
from napari_why.core import events
from napari_why.core.devices import choose_device, limited_threads, seeded_torch
from napari_why.core.errors import ParameterError
from napari_why.core.events import Cancelled, OnEvent
from napari_why.core.options import Help, Label, Options, Presets, Range, Topic
from napari_why.training.averaging import WeightAverage
from napari_why.training.checkpoint import CheckpointFolder
from napari_why.training.examples import Augmentation, Batches, Examples, derived_seed
from napari_why.training.train import (
    DivergedError,
    Status,
    TrainingError,
    describe_failure,
    describe_place,
    run_guarded,
)

COMPUTER, OPTIMISER = Topic("repetition and computer"), Topic("optimiser")
# Of Adam: no momentum, since the other player moves the target (Miyato et al. 2018; Zhang et al. 2019).
BETAS = (0.0, 0.9)
# Looks at what is made, over a whole training: a look takes seconds, an epoch may take less.
LOOKS = 20
# A batch of a single image leaves batch normalisation nothing to average over.
FEWEST_IMAGES = 2


@dataclass(frozen=True, kw_only=True)
class PlayOptions(Options):
    """How two players are trained; what they play has options of its own.

    Parameters
    ----------
    epochs, batch_size : int
        Passes over the training images, and images a step.
    learning_rate, discriminator_rate : float
        Of Adam; the discriminator's is larger by default (Heusel et al. 2017, arXiv:1706.08500).
    averaging : float
        Steps over which the generator's weights are averaged; the average is what is kept.
    augment : bool
        See :class:`~napari_why.training.Augmentation`.
    seed, device, threads
        As for :class:`~napari_why.training.TrainingOptions`.
    """

    epochs: Annotated[
        int,
        Help("passes over the training images"),
        Range(1, 100_000),
        Presets(quick_look=20, thorough=300),
    ] = 100
    batch_size: Annotated[int, Help("images a training step"), Range(2, 4096), OPTIMISER] = 16
    learning_rate: Annotated[
        float, Help("size of the generator's steps"), Range(0, 1), OPTIMISER
    ] = 1e-4
    discriminator_rate: Annotated[
        float, Help("size of the discriminator's steps"), Range(0, 1), OPTIMISER
    ] = 4e-4
    averaging: Annotated[
        float,
        Help("steps over which the generator's weights are averaged; 0: not"),
        Range(0, 1e6),
        Label("averaged over steps"),
        OPTIMISER,
    ] = 200.0
    augment: Annotated[
        bool, Help("flip training images and turn them by right angles at random"), Topic("images")
    ] = True
    seed: Annotated[
        int,
        Help("number that random choices start from; the same one trains the same networks"),
        Range(0, 2**63 - 1),
        Label("seed of the training"),
        COMPUTER,
    ] = 0
    device: Annotated[str, Help("auto, cpu, cuda, cuda:N or mps"), COMPUTER] = "auto"
    threads: Annotated[
        int, Help("processor threads; 0: all cores but one"), Range(0, 1024), COMPUTER
    ] = 0

    @property
    def augmentation(self) -> Augmentation | None:
        """What is done to training images: nothing that interpolates, which a discriminator sees."""
        return Augmentation(rotation=0) if self.augment else None

    def deciding(self) -> dict[str, Any]:
        """Return what must be the same when a training goes on: all but its length and its place."""
        plain = self.to_dict()
        return {name: plain[name] for name in plain if name not in ("epochs", "device", "threads")}


@dataclass(frozen=True)
class Look:
    """What is seen of a game between two epochs.

    Parameters
    ----------
    metrics : mapping of str to float
        For the history.
    findings : mapping of str to str
        What the user should know now, by what it is about: told when it comes up, and at the end.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    findings: Mapping[str, str] = field(default_factory=dict)


class Game(nn.Module, ABC):
    """What two players are, and what each minimises; the generator's weights are averaged.

    A game whose discriminator has no weights is a training of one network, with the same loop.

    Attributes
    ----------
    generator, discriminator : Module
        The players; a player may be several networks.
    """

    generator: nn.Module
    discriminator: nn.Module

    @property
    def title(self) -> str:
        """What its training is called while it goes on."""
        alone = next(self.discriminator.parameters(), None) is None
        return "training a network" if alone else "training two networks"

    @abstractmethod
    def discriminator_losses(
        self, images: Tensor, labels: Tensor, random: torch.Generator
    ) -> dict[str, Tensor]:
        """Return what the discriminator minimises on a batch, by name; empty of one player.

        Parameters
        ----------
        images : Tensor, shape (N, C, H, W)
            Standardised, on the players' device.
        labels : Tensor, int64, shape (N,)
        random : torch.Generator
            On the CPU; of it all that is drawn, so that every device draws the same.

        Returns
        -------
        dict of str to Tensor, shape ()
        """

    @abstractmethod
    def generator_losses(
        self, images: Tensor, labels: Tensor, random: torch.Generator
    ) -> dict[str, Tensor]:
        """Return what the generator minimises on a batch, weighted, by name.

        Parameters
        ----------
        images : Tensor, shape (N, C, H, W)
            Standardised, on the players' device.
        labels : Tensor, int64, shape (N,)
        random : torch.Generator
            On the CPU; of it all that is drawn.

        Returns
        -------
        dict of str to Tensor, shape ()
        """

    def look(self, random: torch.Generator) -> Look:
        """Look at what the averaged generator makes; it is in evaluation mode."""
        del random
        return Look()

    @abstractmethod
    def configuration(self) -> dict[str, Any]:
        """Return JSON types that must be the same for a training that goes on."""


@dataclass(frozen=True)
class PlayResult:
    """How a game went; the game holds the averaged generator.

    Parameters
    ----------
    history : tuple of dict of str to float
        Of each finished epoch: ``generator_loss`` and ``discriminator_loss``, each a mean over the
        epoch's steps of the sum of that player's losses; each of those by its own name; and what was
        seen (:class:`Look`), where there was a look.
    status : str
        ``done``, ``cancelled`` or ``failed``.
    device : str
    seed : int
    """

    history: tuple[dict[str, float], ...]
    status: Status
    device: str
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types, for a card."""
        return asdict(self) | {"history": list(self.history)}


class PlayError(TrainingError):
    """A game that broke off.

    Parameters
    ----------
    message : str
    reached : PlayResult
        What was reached by then; the game holds the generator of the last epoch.
    """

    def __init__(self, message: str, reached: PlayResult) -> None:
        super().__init__(message)
        self.reached = reached


def play(
    game: Game,
    examples: Examples,
    options: PlayOptions,
    *,
    checkpoints: CheckpointFolder | None = None,
    on_event: OnEvent = events.ignore_event,
    cancelled: Cancelled = events.never_cancelled,
) -> PlayResult:
    """Train two players against each other, in place; both are left on the CPU in evaluation mode.

    In turns of one step each: the discriminator's, then the generator's. No loss tells when images are
    best, so the last epoch counts, with the average of the generator's weights. The same seed gives the
    same weights, bit for bit on the CPU, and so does a training that was interrupted and resumed.

    Parameters
    ----------
    game : Game
    examples : Examples
        Preprocessed training images; of no image is more than one copy in memory.
    options : PlayOptions
    checkpoints : CheckpointFolder, optional
        Where a checkpoint is written after each epoch, and whether to go on from there.
    on_event, cancelled : callables
        See :mod:`napari_why.core.events`. Cancelling takes effect between two steps, and leaves the
        generator of the last finished epoch.

    Returns
    -------
    PlayResult

    Raises
    ------
    ParameterError
        Fewer than two images, an unknown device, a checkpoint folder that is in use.
    ModelFileError
        The checkpoints belong to another training or are damaged.
    PlayError
        The training broke off (memory, a loss that is not finite, a full disk).
    """
    if len(examples.labels) < FEWEST_IMAGES:
        raise ParameterError(
            f"training images: found {len(examples.labels)}; expected {FEWEST_IMAGES} at least"
        )
    device = choose_device(options.device)
    if checkpoints is not None:
        facts = options.deciding() | game.configuration() | {"images": len(examples.labels)}
        checkpoints = CheckpointFolder(
            checkpoints.folder, {**facts, **checkpoints.settings}, checkpoints.resume, "last"
        )
    batches = Batches(examples, options.batch_size, options.seed, options.augmentation)
    progress = _begin(game, checkpoints, on_event)
    loop = PlayLoop(game, batches, options, progress, checkpoints, device.name, on_event, cancelled)
    with (
        limited_threads(options.threads or None) as count,
        seeded_torch(options.seed, device.name),
    ):
        on_event(events.Message(describe_place(device.name, device.reason, count)))
        on_event(events.Started(game.title, options.epochs * len(batches)))
        status, failure = run_guarded(loop)
        game.to("cpu")
        progress.put_into(game)
    result = PlayResult(tuple(progress.history), status, device.name, options.seed)
    if failure is not None:
        done = len(progress.history)
        sentence = describe_failure(failure, device.name, done, options.epochs, done)
        raise PlayError(sentence, result) from failure
    on_event(events.Finished(partial=status == "cancelled"))
    return result


@dataclass
class Progress:
    """What a game has reached at the end of its last epoch; outlives the loop however that ends."""

    weights: dict[str, Tensor]
    history: list[dict[str, float]] = field(default_factory=list)
    optimiser: dict[str, Any] | None = None
    averaged: dict[str, Tensor] | None = None

    def put_into(self, game: Game) -> None:
        """Leave the players of the last epoch, the averaged generator for its last one."""
        # as they are once they were saved and loaded, or their last digits would differ from then
        game.to(memory_format=torch.contiguous_format)
        game.load_state_dict(self.weights)
        game.eval().requires_grad_(False)
        if self.averaged is not None:
            game.generator.load_state_dict({**game.generator.state_dict(), **self.averaged})
            settle_spectral_norms(game.generator)


def _begin(game: Game, checkpoints: CheckpointFolder | None, on_event: OnEvent) -> Progress:
    begun = None if checkpoints is None else checkpoints.begin()
    if begun is None:
        return Progress(_copy(game.state_dict()))
    last, _ = begun
    game.load_state_dict(last.weights)
    on_event(events.Message(f"going on after epoch {last.epoch}"))
    return Progress(last.weights, list(last.history), last.optimiser, last.averaged)


def _copy(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in state.items()}


@dataclass
class _Means:
    """Losses of an epoch's steps by name."""

    sums: dict[str, float] = field(default_factory=dict)
    steps: int = 0

    def add(self, player: str, losses: Mapping[str, Tensor]) -> None:
        total = 0.0
        for name, value in losses.items():
            number = float(value.detach())
            total += number
            # a player's only loss stands under the player's name
            if len(losses) > 1:
                self.sums[f"{player}_{name}"] = self.sums.get(f"{player}_{name}", 0.0) + number
        self.sums[f"{player}_loss"] = self.sums.get(f"{player}_loss", 0.0) + total

    def metrics(self) -> dict[str, float]:
        return {name: value / self.steps for name, value in self.sums.items()}


@dataclass(frozen=True)
class PlayLoop:
    """One training of two players, from epoch ``len(progress.history) + 1`` on; see :func:`play`."""

    game: Game
    batches: Batches
    options: PlayOptions
    progress: Progress
    checkpoints: CheckpointFolder | None
    device: str
    on_event: OnEvent
    cancelled: Cancelled
    # on the CPU: a device's own generator would draw other numbers on every kind of device
    random: torch.Generator = field(default_factory=torch.Generator, init=False)

    @property
    def trained(self) -> nn.Module:
        """Both players."""
        return self.game

    @property
    def finished(self) -> int:
        """How many epochs are."""
        return len(self.progress.history)

    def run(self) -> Status:
        """Train until the last epoch or until cancelled."""
        game, options, history = self.game, self.options, self.progress.history
        # channels last is a quarter to a third faster on a processor
        game.to(self.device).to(memory_format=torch.channels_last)
        optimiser = self._make_optimiser()
        if self.progress.optimiser is not None:
            optimiser.load_state_dict(self.progress.optimiser)
        average = None
        if options.averaging > 0:
            average = WeightAverage.begin(game.generator, options.averaging, self.progress.averaged)
        every = max(1, options.epochs // LOOKS)
        known: set[str] = set()
        while len(history) < options.epochs:
            epoch = len(history) + 1
            metrics = self._train_epoch(epoch, optimiser, average)
            if metrics is None:
                return "cancelled"
            if epoch % every == 0 or epoch == options.epochs:
                look = self._look(epoch, average)
                metrics |= look.metrics
                self._tell(look, known, last=epoch == options.epochs)
            self._end_epoch(metrics, optimiser, average)
        return "done"

    def _make_optimiser(self) -> torch.optim.Optimizer:
        # one for both: a player whose weights have no gradient takes no step
        players = [self.game.generator, self.game.discriminator]
        rates = [self.options.learning_rate, self.options.discriminator_rate]
        groups: list[dict[str, Any]] = [
            {"params": list(player.parameters()), "lr": rate}
            for player, rate in zip(players, rates, strict=True)
        ]
        return torch.optim.Adam([group for group in groups if group["params"]], betas=BETAS)

    def _train_epoch(
        self, epoch: int, optimiser: torch.optim.Optimizer, average: WeightAverage | None
    ) -> dict[str, float] | None:
        """Take two steps for every batch, one for each player; None when cancelled."""
        # all randomness depends on seed and epoch alone, so that a training resumed here goes on
        # as if it had never stopped
        self.batches.epoch = epoch
        torch.manual_seed(derived_seed(self.options.seed, epoch, 1))
        self.random.manual_seed(derived_seed(self.options.seed, epoch, 2))
        self.game.train().requires_grad_(True)
        before, means = (epoch - 1) * len(self.batches), _Means()
        for done, (images, labels) in enumerate(self.batches, start=1):
            if self.cancelled():
                return None
            seen = images.to(self.device).contiguous(memory_format=torch.channels_last)
            batch = (seen, labels.to(self.device), self.random)
            for player, network, losses_of in self._turns():
                self._step(optimiser, network, losses_of(*batch), player, means)
            means.steps += 1
            if average is not None:
                average.update(self.game.generator, before + done)
            self.on_event(events.Advanced(before + done))
        return means.metrics()

    def _turns(self) -> list[tuple[str, nn.Module, Callable[..., dict[str, Tensor]]]]:
        game = self.game
        return [
            ("discriminator", game.discriminator, game.discriminator_losses),
            ("generator", game.generator, game.generator_losses),
        ]

    def _step(
        self,
        optimiser: torch.optim.Optimizer,
        network: nn.Module,
        losses: Mapping[str, Tensor],
        player: str,
        means: _Means,
    ) -> None:
        if not losses:
            return
        loss = torch.stack(list(losses.values())).sum()
        # before the step: the weights so far are then still good
        if not torch.isfinite(loss):
            raise DivergedError(f"the {player}'s loss became {float(loss.detach())}")
        optimiser.zero_grad()
        torch.autograd.backward(loss, inputs=list(network.parameters()))
        optimiser.step()
        means.add(player, losses)

    @torch.no_grad()
    def _look(self, epoch: int, average: WeightAverage | None) -> Look:
        generator = self.game.generator
        self.game.eval()
        # of its own: how often somebody looks must not change what is trained
        random = torch.Generator().manual_seed(derived_seed(self.options.seed, epoch, 3))
        if average is None:
            return self.game.look(random)
        with average.installed(generator):
            settle_spectral_norms(generator)
            return self.game.look(random)

    def _tell(self, look: Look, known: set[str], *, last: bool) -> None:
        """Tell what came up and what is over, and at the end all that there is."""
        for about, sentence in look.findings.items():
            if last or about not in known:
                self.on_event(events.Message(sentence, finding=last))
        for about in sorted(known - look.findings.keys()):
            self.on_event(events.Message(f"{about}: what was said of it is over"))
        known.clear()
        known.update(look.findings)

    def _end_epoch(
        self,
        metrics: dict[str, float],
        optimiser: torch.optim.Optimizer,
        average: WeightAverage | None,
    ) -> None:
        progress = self.progress
        averaged = None if average is None else _copy(average.weights)
        # the weights first: an interruption between the two leaves no epoch without its weights
        progress.weights, progress.averaged = _copy(self.game.state_dict()), averaged
        progress.history.append(metrics)
        if self.checkpoints is not None:
            self.checkpoints.save(progress.history, self.game, optimiser, averaged)
        epochs = self.options.epochs
        self.on_event(events.EpochFinished(len(progress.history), epochs, metrics))
