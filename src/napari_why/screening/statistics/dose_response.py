"""Four-parameter dose-response curves, with the interval of the dose of half the effect."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from napari_why.core.errors import ParameterError

Values = NDArray[np.float64]

# Doses that a curve of four numbers needs, without the dose of 0; wells one more than parameters.
FEWEST_DOSES, FEWEST_WELLS = 4, 6
# Decades beyond the tested doses in which the half-way dose is looked for.
BEYOND = 1.0
# Hill slopes: flatter curves are no longer told from lines, steeper ones from steps.
SLOPES = (0.3, 10.0)
# Grid for the start of the search: an eighth of a decade, and slopes by a tenth.
STEPS_A_DECADE, SLOPE_STEPS = 8, 37
CONFIDENCE = 0.95
# Bisections of the ends of the interval: 2^-30 of a grid step.
BISECTIONS = 30
PARAMETERS = 4


@dataclass(frozen=True)
class DoseResponse:
    """A fitted curve: bottom + (top - bottom) / (1 + (EC50 / dose)^slope).

    Parameters
    ----------
    ec50, low, high : float
        Dose of half the effect with its 95 % interval by profile likelihood, in the unit of the doses;
        0 and infinite ends say that the doses do not bound it. NaN where nothing could be fitted.
    bottom, top : float
        Response to no dose and to the highest.
    slope : float
        Hill slope, 0.3 to 10.
    determination : float
        Share of the variance that the curve explains (R^2).
    p : float
        Of an F test of the curve against a constant; the curve is not linear, so it is approximate.
    wells : int
    note : str
        Why there is no curve, or what speaks against it.
    """

    ec50: float
    low: float
    high: float
    bottom: float
    top: float
    slope: float
    determination: float
    p: float
    wells: int
    note: str = ""

    def response(self, doses: Values) -> Values:
        """Return the curve at some doses."""
        share = _rise(doses, np.log10(self.ec50), self.slope)
        return np.asarray(self.bottom + (self.top - self.bottom) * share)


def fit_dose_response(doses: Values, responses: Values) -> DoseResponse:
    """Fit a four-parameter logistic curve by least squares.

    For every half-way dose and slope, bottom and top are a linear fit; so two numbers are searched on a
    grid, which finds the lowest valley, and refined by ``scipy.optimize.least_squares``. The interval has
    all half-way doses whose best curve is not significantly worse (F test of one parameter, 95 %): it
    need not be symmetric, and is open where the doses do not bound it.

    Parameters
    ----------
    doses : ndarray, shape (n,)
        0 for wells without a compound.
    responses : ndarray, shape (n,)
        One value a well.

    Returns
    -------
    DoseResponse
        NaN of what cannot be fitted, with the reason.

    Raises
    ------
    ParameterError
        A dose is negative, or there are not as many responses.

    Examples
    --------
    >>> doses = np.repeat([0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0], 2)
    >>> found = fit_dose_response(doses, 1 + 4 / (1 + 2 / np.maximum(doses, 1e-9)))
    >>> round(found.ec50, 3), round(found.top, 3), round(found.slope, 3)
    (2.0, 5.0, 1.0)
    """
    if doses.shape != responses.shape or (doses < 0).any():
        raise ParameterError(
            f"doses: found {len(doses)} for {len(responses)} responses, the least {doses.min(initial=0):g}; "
            "expected as many, of 0 and more"
        )
    known = np.isfinite(doses) & np.isfinite(responses)
    doses, responses = doses[known].astype(float), responses[known].astype(float)
    tested = np.unique(doses[doses > 0])
    if len(tested) < FEWEST_DOSES or len(doses) < FEWEST_WELLS:
        return _nothing(
            len(doses),
            f"{len(tested)} doses in {len(doses)} wells: a curve needs {FEWEST_DOSES} in {FEWEST_WELLS}",
        )
    total = float(((responses - responses.mean()) ** 2).sum())
    if total == 0:
        return _nothing(len(doses), "all responses are the same")
    centre, slope = _search(doses, responses, tested)
    bottom, top, left = _project(doses, responses, centre, slope)
    low, high = _profile(doses, responses, tested, centre, left)
    free = len(doses) - PARAMETERS
    ratio = ((total - left) / (PARAMETERS - 1)) / (left / free) if left > 0 else np.inf
    found = DoseResponse(
        float(10**centre),
        low,
        high,
        bottom,
        top,
        slope,
        1 - left / total,
        float(stats.f.sf(ratio, PARAMETERS - 1, free)),
        len(doses),
    )
    return DoseResponse(**{**vars(found), "note": _doubt(found, tested)})


def _rise(doses: Values, centre: float, slope: float) -> Values:
    """Return the share of the whole effect at some doses, 0 at a dose of 0."""
    with np.errstate(divide="ignore"):
        logarithms = np.log(doses)
    return np.asarray(special.expit(slope * (logarithms - np.log(10) * centre)))


def _project(
    doses: Values, responses: Values, centre: float, slope: float
) -> tuple[float, float, float]:
    """Return bottom, top and the sum of squares that is left, for a half-way dose and slope."""
    share = _rise(doses, centre, slope)
    apart, deviations = share - share.mean(), responses - responses.mean()
    varied = float(apart @ apart)
    # where no dose lies on the rise, nothing tells bottom from top
    effect = float(apart @ deviations) / varied if varied > 0 else 0.0
    bottom = float(responses.mean() - effect * share.mean())
    left = deviations - effect * apart
    return bottom, bottom + effect, float(left @ left)


def _search(doses: Values, responses: Values, tested: Values) -> tuple[float, float]:
    low, high = np.log10(tested[0]) - BEYOND, np.log10(tested[-1]) + BEYOND
    centres = np.linspace(low, high, int((high - low) * STEPS_A_DECADE) + 1)
    slopes = np.geomspace(*SLOPES, SLOPE_STEPS)
    sums = [[_project(doses, responses, c, s)[2] for s in slopes] for c in centres]
    best = np.unravel_index(int(np.argmin(sums)), (len(centres), len(slopes)))

    def residuals(point: Values) -> Values:
        centre, slope = float(point[0]), float(np.exp(point[1]))
        bottom, top, _ = _project(doses, responses, centre, slope)
        return np.asarray(bottom + (top - bottom) * _rise(doses, centre, slope) - responses)

    bounds = ([low, np.log(SLOPES[0])], [high, np.log(SLOPES[1])])
    start = np.clip([centres[best[0]], np.log(slopes[best[1]])], *bounds)
    found = optimize.least_squares(residuals, start, bounds=bounds, xtol=1e-12, ftol=1e-12)
    return float(found.x[0]), float(np.exp(found.x[1]))


def _profile(
    doses: Values, responses: Values, tested: Values, centre: float, left: float
) -> tuple[float, float]:
    """Return the ends of the interval of the half-way dose."""
    free = len(doses) - PARAMETERS
    worst = left * (1 + stats.f.ppf(CONFIDENCE, 1, free) / free)
    step = 1 / STEPS_A_DECADE

    def exceeds(one: float) -> bool:
        return bool(_best_slope(doses, responses, one) > worst)

    ends = []
    for sign, limit in ((-1, np.log10(tested[0]) - BEYOND), (1, np.log10(tested[-1]) + BEYOND)):
        inside = outside = centre
        while sign * (limit - outside) > 0 and not exceeds(outside):
            inside, outside = outside, outside + sign * step
        if not exceeds(outside):
            ends.append(np.inf * sign)
            continue
        for _ in range(BISECTIONS):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if exceeds(middle) else (middle, outside)
        ends.append(inside)
    return float(10 ** ends[0]), float(10 ** ends[1])


def _best_slope(doses: Values, responses: Values, centre: float) -> float:
    """Return the least sum of squares with any slope at a half-way dose."""
    # the grid first: there may be two valleys, a flat curve and a step between two doses
    slopes = np.log(np.geomspace(*SLOPES, SLOPE_STEPS))
    sums = [_project(doses, responses, centre, float(np.exp(one)))[2] for one in slopes]
    best = int(np.argmin(sums))
    around = (slopes[max(best - 1, 0)], slopes[min(best + 1, len(slopes) - 1)])
    found = optimize.minimize_scalar(
        lambda one: _project(doses, responses, centre, float(np.exp(one)))[2],
        bounds=around,
        method="bounded",
    )
    return min(sums[best], float(found.fun))


def _doubt(found: DoseResponse, tested: Values) -> str:
    if found.p > 1 - CONFIDENCE:
        return "no effect of the dose is shown"
    if not tested[0] <= found.ec50 <= tested[-1]:
        return "the half-way dose lies beyond the tested ones"
    if found.low == 0 or np.isinf(found.high):
        return "the tested doses do not bound the half-way dose"
    return ""


def _nothing(wells: int, note: str) -> DoseResponse:
    none = float("nan")
    return DoseResponse(none, none, none, none, none, none, none, none, wells, note)
