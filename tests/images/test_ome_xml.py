import pytest

from napari_why.images.ome_xml import decode_xml, is_ome, parse_ome_xml


def test_names_sizes_and_units_of_the_first_image() -> None:
    text = """<?xml version="1.0" encoding="UTF-8"?>
    <ome:OME xmlns:ome="http://www.openmicroscopy.org/Schemas/OME/2016-06">
      <ome:Image><ome:Pixels PhysicalSizeX="650" PhysicalSizeXUnit="nm" PhysicalSizeY="0.65"
          PhysicalSizeZ="oops">
        <ome:Channel Name="0405"/><ome:Channel Fluor="TMRM"/><ome:Channel/>
      </ome:Pixels></ome:Image>
      <ome:Image><ome:Pixels PhysicalSizeX="9"><ome:Channel Name="no"/></ome:Pixels></ome:Image>
    </ome:OME>"""
    ome = parse_ome_xml(text)
    assert ome.channels == ["0405", "TMRM", ""]
    assert ome.pixel_size == {"x": 0.65, "y": 0.65}
    assert ome.images == 2


def test_broken_xml_and_entities_are_refused() -> None:
    with pytest.raises(ValueError, match="not well-formed"):
        parse_ome_xml("<OME><Image>")
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><OME>&b;</OME>'
    with pytest.raises(ValueError, match="declares the entity"):
        parse_ome_xml(bomb)


@pytest.mark.parametrize("encoding", ["utf-32", "utf-32-le", "utf-32-be", "utf-16", "utf-8-sig"])
@pytest.mark.parametrize("declared", ["UTF-8", "UTF-32"])
def test_wide_letters_are_decoded(encoding, declared) -> None:
    text = f'<?xml version="1.0" encoding="{declared}"?><OME Creator="\u00b5"/>'
    decoded, notes = decode_xml(text.encode(encoding))
    assert (decoded, notes) == (text, ())
    assert is_ome(decoded)
