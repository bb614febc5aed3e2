"""Solve x + g(x) = y for a contraction g: fixed-point steps, and Broyden's where those are slow."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

# rank-one terms kept: a solve took 6 to 10 evaluations where contraction was worst, so that ten
# hold nearly all of it, and each term costs two dot products over a whole map
MEMORY = 10


class BroydenMemory:
    """The inverse Jacobian as the identity plus at most ten rank-one terms u v^T.

    Broyden 1965, in the inverse (Sherman-Morrison) form. With an empty memory a step is the plain
    fixed-point step. A full memory starts anew.

    Examples
    --------
    >>> memory = BroydenMemory()
    >>> memory.step(torch.tensor([2.0, 0.0])).tolist()
    [-2.0, -0.0]
    """

    def __init__(self) -> None:
        self._left: list[Tensor] = []
        self._right: list[Tensor] = []

    def step(self, defect: Tensor) -> Tensor:
        """Return minus the inverse Jacobian applied to the defect F(x), in its shape."""
        return -self._apply(defect.flatten()).view_as(defect)

    def learn(self, step: Tensor, change: Tensor) -> None:
        """Update so that the inverse Jacobian maps the ``change`` of F to the ``step`` of x.

        Parameters
        ----------
        step, change : Tensor
            Of x and of F = x + g(x) - y, of one shape. Nothing is learnt of two all but orthogonal ones.
        """
        if len(self._left) == MEMORY:
            self.forget()  # dropping the oldest alone would leave terms that were built upon it
        s, f = step.flatten(), change.flatten()
        right = s.clone()
        for u, v in zip(self._left, self._right, strict=True):
            right += torch.dot(s, u) * v
        divisor = torch.dot(right, f)
        # a divisor within rounding of 0 would put a term of any size into the memory
        if float(divisor.abs()) > torch.finfo(f.dtype).eps * float(right.norm() * f.norm()):
            self._left.append((s - self._apply(f)) / divisor)
            self._right.append(right)

    def forget(self) -> None:
        """Start again from the identity."""
        self._left.clear()
        self._right.clear()

    def _apply(self, vector: Tensor) -> Tensor:
        result = vector.clone()
        for u, v in zip(self._left, self._right, strict=True):
            result += torch.dot(v, vector) * u
        return result


Map = Callable[[Tensor], Tensor]
ConditionalMap = Callable[..., Tensor]  # takes x alone, or x and a condition

# observed contraction above which Broyden steps are worth their linear algebra: at one half, plain
# steps gain a digit in three or four evaluations
STIFF_RATIO = 0.5
# in units of the rounding of y: a residual that stops falling below the first is at the limit of
# the number format; above the second it may stand still for a step and fall again
ROUNDING_LIMIT, STALL_LIMIT = 64, 1000
STALLED = 0.9  # of the best residual so far: less progress than this in two steps is none
LARGEST_GROWTH = 2  # of a residual by one Broyden step, before that is taken back


@dataclass(frozen=True)
class SolverOptions:
    """When to stop.

    Parameters
    ----------
    tolerance : float
        Largest allowed error of any element of x.
    max_evaluations : int
        Evaluations of g per image.
    lipschitz : float
        Known upper bound of the Lipschitz constant of g; the observed ratio is capped there.
    """

    tolerance: float
    max_evaluations: int
    lipschitz: float = 0.99  # below 1, so that the error bound below is finite


@dataclass
class Track:
    """What was seen while one image was solved for.

    Attributes
    ----------
    residuals : list of float
        max|x + g(x) - y| at each evaluation.
    ratio : float
        Observed contraction: the larger of the last two quotients of successive residuals of
        plain steps; 0 before there are any.
    """

    options: SolverOptions
    rounding: float
    residuals: list[float] = field(default_factory=list)
    ratio: float = 0.0
    converged: bool = False

    @property
    def evaluations(self) -> int:
        """Evaluations of g."""
        return len(self.residuals)

    def add(self, residual: float, *, plain: bool) -> None:
        """Take note of the residual of one more evaluation.

        Parameters
        ----------
        residual : float
            max|x + g(x) - y|.
        plain : bool
            Whether a plain fixed-point step led there, of which alone the contraction can be seen.
        """
        self.residuals.append(residual)
        if plain and self.evaluations > 1:
            # the larger of two: a single quotient may be small by chance
            recent = self.residuals[-3:]
            self.ratio = max(_quotient(b, a) for a, b in pairwise(recent))

    def finished(self) -> bool:
        """Tell whether to stop, and note in ``converged`` whether that is a success.

        One more plain step from a point with residual r leaves an error of at most
        r L / (1 - L). Where rounding forbids to get there, the residual stops falling.
        """
        latest = self.residuals[-1]
        # the observed ratio is mostly far below the certified bound, which would ask for more
        constant = min(self.ratio, self.options.lipschitz)
        if latest == 0 or (
            self.evaluations > 1 and latest * constant / (1 - constant) <= self.options.tolerance
        ):
            self.converged = True
        elif self._stalled():
            self.converged = latest <= ROUNDING_LIMIT * self.rounding
        elif self.evaluations < self.options.max_evaluations and latest < float("inf"):
            return False
        return True

    def stiff(self) -> bool:
        """Tell whether two quotients in a row are above STIFF_RATIO."""
        recent = self.residuals[-3:]
        # the first steps say little: they start from y, which is no iterate of g
        return self.evaluations >= 4 and all(b > STIFF_RATIO * a for a, b in pairwise(recent))

    def _stalled(self) -> bool:
        if self.evaluations < 4 or self.residuals[-1] > STALL_LIMIT * self.rounding:
            return False
        return min(self.residuals[-2:]) > STALLED * min(self.residuals[:-2])


def solve_contraction(
    g: ConditionalMap, y: Tensor, options: SolverOptions, condition: Tensor | None = None
) -> tuple[Tensor, list[Track]]:
    """Return x with x + g(x) = y, and what was seen for each image.

    Every image starts at x = y and takes plain fixed-point steps x <- y - g(x) until its error
    bound is met. Where its observed contraction stays above 0.5, limited-memory Broyden steps
    take over. No image waits for, or depends on, the others of the batch.

    Parameters
    ----------
    g : callable
        Maps (N, C, h, w) to the same shape, each image for itself; takes the condition of these
        images as its second argument where there is one.
    y : Tensor, shape (N, C, h, w)
    options : SolverOptions
    condition : Tensor, shape (N, ...), optional
        What g depends on beside x, one row an image.

    Returns
    -------
    x : Tensor, shape (N, C, h, w)
    tracks : list of Track
        One per image.
    """
    # the smallest step that the number format can tell, at the largest value of each image
    epsilon = torch.finfo(y.dtype).eps
    scales = y.abs().amax((1, 2, 3)).tolist()
    tracks = [Track(options, epsilon * max(scale, epsilon)) for scale in scales]
    solution = y.clone()
    stiff = _plain_steps(g, y, solution, tracks, condition)
    # one by one: Broyden's memory belongs to an image, and few images need it
    for index in stiff:
        one = slice(index, index + 1)
        given = _bind_condition(g, None if condition is None else condition[one])
        solution[one] = _broyden_steps(given, y[one], solution[one].clone(), tracks[index])
    return solution, tracks


def _bind_condition(g: ConditionalMap, condition: Tensor | None) -> Map:
    """Return g as a function of x alone."""
    return g if condition is None else lambda x: g(x, condition)


def _plain_steps(
    g: ConditionalMap,
    y: Tensor,
    solution: Tensor,
    tracks: list[Track],
    condition: Tensor | None,
) -> list[int]:
    """Solve in place by fixed-point steps; return the images that want Broyden steps."""
    active, stiff = list(range(len(y))), []
    x, target = y, y
    given = _bind_condition(g, condition)
    while active:
        following = target - given(x)
        # x + g(x) - y is x - following: the step is the residual, at no further evaluation
        residuals = (following - x).abs().amax((1, 2, 3)).tolist()
        x = following
        staying = []
        for row, (index, residual) in enumerate(zip(active, residuals, strict=True)):
            tracks[index].add(residual, plain=True)
            finished = tracks[index].finished()
            if not finished and tracks[index].stiff():
                stiff.append(index)
            elif not finished:
                staying.append(row)
                continue
            solution[index] = x[row]
        if len(staying) < len(active):  # images that are done cost nothing any more
            active = [active[row] for row in staying]
            x, target = x[staying], target[staying]
            given = _bind_condition(g, None if condition is None else condition[active])
    return stiff


def _broyden_steps(g: Map, y: Tensor, x: Tensor, track: Track) -> Tensor:
    """Solve for one image from ``x`` by Broyden's method; return the best point seen.

    A step after which the residual has more than doubled is taken back: the memory is forgotten
    and a plain step, which always contracts, is taken from the best point instead.
    """
    memory = BroydenMemory()
    track.ratio = min(max(track.ratio, STIFF_RATIO), track.options.lipschitz)
    defect = x + g(x) - y
    best, least = x - defect, float(defect.abs().amax())
    track.add(least, plain=False)
    while not track.finished():
        step = memory.step(defect)
        new = x + step
        new_defect = new + g(new) - y
        residual = float(new_defect.abs().amax())
        track.add(residual, plain=False)
        if not residual <= LARGEST_GROWTH * least:  # NaN too: not (residual > ...)
            memory.forget()
            new, new_defect = best, best + g(best) - y
            residual = float(new_defect.abs().amax())
            track.add(residual, plain=False)
        else:
            memory.learn(step, new_defect - defect)
        x, defect = new, new_defect
        if residual <= least:
            best, least = x - defect, residual  # one more plain step, already paid for
    return best


def _quotient(later: float, earlier: float) -> float:
    return later / earlier if earlier > 0 else 0.0
