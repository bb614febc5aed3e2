"""A thousand damaged files end in the right pixels or in one error, whatever is wrong with them."""

import json
import re
import sys
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest
import tifffile
from fuzzing.campaign import OTHER, REFUSED, RIGHT, Report, run
from fuzzing.made_specimens import PIXELS, made_specimens
from fuzzing.mutant import Mutant
from fuzzing.mutants import mutants, shares
from fuzzing.reader_process import ReaderProcess
from fuzzing.real_specimens import real_specimens
from fuzzing.specimen import Specimen

from napari_why.core.errors import ImageReadError
from napari_why.images import read

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="memory is limited and measured by Linux's means"
)

SEED = 0
MADE, REAL = 700, 500


@pytest.fixture(scope="module")
def made() -> tuple[Specimen, ...]:
    return made_specimens()


def check(report: Report, count: int) -> None:
    """Fail with every violation; a test that refuses or accepts everything would mean nothing."""
    assert not report.violations, "\n".join(report.violations)
    assert report.total == count
    assert report.count(RIGHT) > count / 20
    assert report.count(REFUSED) > count / 2
    assert report.count(OTHER) < count / 10


def test_mutants_of_made_files(made: Sequence[Specimen]) -> None:
    check(run(mutants(made, MADE, SEED)), MADE)


@pytest.mark.real_data
def test_mutants_of_every_real_specimen(real_data: Path) -> None:
    specimens = real_specimens(real_data / "format-specimens")
    assert min(shares(specimens, REAL)) > 0
    check(run(mutants(specimens, REAL, SEED)), REAL)


def test_the_same_seed_gives_the_same_mutants(made: Sequence[Specimen]) -> None:
    first, again = (list(mutants(made[:3], 30, SEED)) for _ in range(2))
    assert first == again
    other = list(mutants(made[:3], 30, SEED + 1))
    assert [mutant.files for mutant in other] != [mutant.files for mutant in first]
    assert all(mutant.files[""] != mutant.specimen.files[""] for mutant in first)


def test_a_wrong_picture_is_a_violation(made: Sequence[Specimen]) -> None:
    """One bit of a pixel is the smallest difference; no rule of other valid files covers it."""
    strips = next(specimen for specimen in made if specimen.name == "strips.tif")
    pixel = bytearray(strips.files[""])
    pixel[-300] ^= 1
    mutant = Mutant(strips, "flipped bits", "a pixel", "one bit", {"": bytes(pixel)})
    report = run([mutant])
    assert report.violations == [f"{mutant}: wrong picture: ('c', 'y', 'x') (2, 44, 38) uint16"]


@pytest.mark.parametrize("outcome", ["hangs", "crashed", "raised", "no memory"])
def test_what_breaks_the_reader_is_told(tmp_path: Path, outcome) -> None:
    seconds = 4 if outcome == "hangs" else 60
    with ReaderProcess(tmp_path, [], seconds, module="fuzzing.broken_worker") as reader:
        answer = reader.ask({"path": outcome, "axes": None, "sha256": ""})
        assert answer["outcome"] == ("raised" if outcome == "no memory" else outcome)
        again = reader.ask({"path": "much", "axes": None, "sha256": ""})
    assert again["outcome"] == "refused"
    assert again["bytes"] > 2**25


@pytest.mark.parametrize("shape", [(10**6, 10**6), (10**12, 1), (10**4, 10**8)])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd", "packbits"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_a_tiff_of_a_million_million_pixels_is_refused(tmp_path, shape, compression, tile) -> None:
    path = tmp_path / "huge.tif"
    options = {"compression": compression, "tile": tile, "bigtiff": True}
    tifffile.imwrite(path, PIXELS[0], metadata=None, photometric="minisblack", **options)
    claimed = dict(zip(("ImageLength", "ImageWidth"), shape, strict=True))
    if tile:
        claimed |= dict(zip(("TileLength", "TileWidth"), shape, strict=True))
    else:
        claimed["RowsPerStrip"] = shape[0]
    with tifffile.TiffFile(path, mode="r+") as file:
        for name, size in claimed.items():
            file.pages[0].tags[name].overwrite(size, dtype="Q")
    refused_at_once(path)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("one_chunk", [False, True])
def test_an_ome_zarr_of_a_million_million_pixels_is_refused(
    tmp_path, made, version, compressed, one_chunk
) -> None:
    name = f"{'zstd' if compressed else 'bytes'}_v{version}.ome.zarr"
    path = next(specimen for specimen in made if specimen.name == name).write(tmp_path)
    file = path / "0" / (".zarray" if version == 2 else "zarr.json")
    array = json.loads(file.read_text(encoding="utf-8"))
    array["shape"] = shape = [1, 10**6, 10**6]
    if one_chunk and version == 2:
        array["chunks"] = shape
    elif one_chunk:
        array["chunk_grid"]["configuration"]["chunk_shape"] = shape
    file.write_text(json.dumps(array), encoding="utf-8")
    refused_at_once(path)


def refused_at_once(path: Path) -> None:
    """Check that a read ends in an error before a hundredth of what is claimed is allocated."""
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(ImageReadError, match=re.escape(str(path))):
        read([path])
    seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 5
    assert peak < 20_000_000
