from pathlib import Path

import numpy as np
import tifffile

from napari_why.images import read

INDEX = """<EvaluationInputData xmlns="43B2A954-E3C3-47E1-B392-6635266B0DD3/HarmonyV7"><Maps><Map>
<Entry ChannelID="1"><ImageResolutionX Unit="m">2.9891E-07</ImageResolutionX>
<ImageResolutionY Unit="m">2.9891E-07</ImageResolutionY></Entry></Map></Maps>"""


def test_harmony_notes_the_pixel_size_beside_its_images(tmp_path: Path) -> None:
    path = tmp_path / "r01c01f01p01-ch1sk1fk1fl1.tiff"
    tifffile.imwrite(path, np.ones((4, 5), "uint16"), metadata=None, photometric="minisblack")
    assert read(path).attrs["unit"] == "pixel"
    (tmp_path / "Index.idx.xml").write_text(INDEX, encoding="utf-8")
    image = read(path)
    assert image.attrs["unit"] == "um"
    assert image.attrs["pixel_size"] == {"y": 0.29891, "x": 0.29891}
