"""A specimen with one structure changed."""

from collections.abc import Mapping
from dataclasses import dataclass

from fuzzing.specimen import Specimen


@dataclass(frozen=True)
class Mutant:
    """What was changed, and the files as they are afterwards.

    Parameters
    ----------
    specimen : Specimen
        Its origin.
    kind : str
        Kind of mutation ("truncation", "tag value").
    target : str
        The structure that was changed ("page 0 ImageWidth value").
    change : str
        How, in words.
    files : mapping of str to bytes or None
        New content of the changed files; None deletes one.
    """

    specimen: Specimen
    kind: str
    target: str
    change: str
    files: Mapping[str, bytes | None]

    def __str__(self) -> str:
        return f"{self.specimen.name}: {self.kind}, {self.target}, {self.change}"
