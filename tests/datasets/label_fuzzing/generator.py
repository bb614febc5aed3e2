"""Cases by their seed: a style, a plan and up to three distortions, written into a folder."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from label_fuzzing.case import Case, can_link, write_case
from label_fuzzing.distortions import DISTORTIONS, LINKS, ORDER
from label_fuzzing.plan import draw_plan
from label_fuzzing.styles import STYLES

# A quarter without distortion shows what is read rightly; most real folders have one or two.
COUNTS = (0, 0, 1, 1, 1, 2, 2, 3)


def make_case(
    number: int, seed: int, place: Path, distortions: Sequence[str] | None = None
) -> Case:
    """Write the case of a number; the same for the same number and seed.

    Parameters
    ----------
    number, seed : int
        Styles take turns with the number.
    place : Path
        An empty folder, or none yet; what lies there is deleted.
    distortions : sequence of str, optional
        Instead of those that are drawn; such that do not apply are left out.
    """
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    name = f"{seed} {number}"
    style = STYLES[number % len(STYLES)]
    plan = draw_plan(name, style)
    wanted = draw_distortions(Random(f"{name} distortions"), can_link(place))
    if distortions is not None:
        wanted = sorted(distortions, key=ORDER.__getitem__)
    applied = []
    for distortion in wanted:
        # Its own numbers, so that it does the same alone as among others.
        plan.random = Random(f"{name} {distortion}")
        if DISTORTIONS[distortion](plan):
            applied.append(distortion)
    plan.random = Random(f"{name} files")
    return write_case(plan, place, name, tuple(applied))


def draw_distortions(random: Random, links: bool) -> list[str]:
    """Draw the names of up to three distortions, in the order in which they are applied."""
    names = [name for name in DISTORTIONS if links or name not in LINKS]
    return sorted(random.sample(names, random.choice(COUNTS)), key=ORDER.__getitem__)


def cases(numbers: Sequence[int], seed: int, place: Path) -> Iterator[Case]:
    """Yield the cases of some numbers, each in place of the one before."""
    for number in numbers:
        yield make_case(number, seed, place)
