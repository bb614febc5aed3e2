"""The mutants of a campaign: the same for the same specimens, count and seed."""

from collections.abc import Iterator, Sequence
from random import Random

from fuzzing.mutant import Mutant
from fuzzing.specimen import Specimen
from fuzzing.tiff_mutations import tiff_mutant
from fuzzing.zarr_mutations import zarr_mutant

FEWEST = 3
ROUND = 10_000
# Bytes that take as long to read as a file takes to open.
FREE_BYTES = 200_000


def mutants(specimens: Sequence[Specimen], count: int, seed: int) -> Iterator[Mutant]:
    """Yield ``count`` mutants; large specimens have fewer, each has ``FEWEST`` at least.

    They come in rounds: the first ``ROUND`` are the same however many there are. In a round, the
    mutants of one specimen come one after another.
    """
    for start in range(0, count, ROUND):
        of_round = shares(specimens, min(ROUND, count - start))
        for specimen, share in zip(specimens, of_round, strict=True):
            make = tiff_mutant if specimen.is_tiff else zarr_mutant
            for index in range(share):
                yield make(specimen, Random(f"{seed} {start} {specimen.name} {index}"))


def shares(specimens: Sequence[Specimen], count: int) -> list[int]:
    """Return how many mutants each specimen has."""
    weights = [1 / (FREE_BYTES + specimen.size) for specimen in specimens]
    rest = count - FEWEST * len(specimens)
    if rest < 0:
        raise ValueError(f"{count} mutants are too few for {len(specimens)} specimens")
    whole = [FEWEST + int(rest * weight / sum(weights)) for weight in weights]
    whole[0] += count - sum(whole)
    return whole
