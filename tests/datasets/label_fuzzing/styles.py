"""Ways of naming image files: one function from a place on a plate to a name for each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

# Of MetaXpress: a serial number that differs from file to file, here by the channel.
GUID = "2A6B3C4D-1111-2222-3333-44445555660{}"
LASERS = (405, 561, 640)  # nm
INCUCYTE = ("phase", "green", "red")


@dataclass(frozen=True)
class Shot:
    """One channel of one image: everything that its name may tell.

    ``field`` and ``number`` count from 1, ``channel``, ``row`` and ``column`` from 0; ``number`` is
    that of the image in its folder, for names without wells. ``words`` are what a user writes before
    and behind the plate and the well.
    """

    plate: str
    well: str
    row: int
    column: int
    field: int
    number: int
    channel: int
    stain: str
    words: Sequence[str] = ()
    behind: Sequence[str] = ()
    variant: int = 0

    def name(self, *parts: str) -> str:
        """Join the user's words with parts of a name; empty parts are left out."""
        return "_".join(part for part in (*self.words, *parts) if part)

    @property
    def where(self) -> str:
        """Plate and well, then the words behind them."""
        return "_".join(part for part in (self.plate, self.well, *self.behind) if part)


@dataclass(frozen=True)
class Style:
    """How a microscope or program names files.

    Parameters
    ----------
    name : str
    spell : callable
        Name of the file of a shot; folders before it where the program makes them.
    well, plate, words : bool
        Whether the name tells the well and the plate, and has room for words of the user's.
    stains : tuple of str
        The channels where the program allows only these.
    kind : str
        ``plain`` TIFF and ``single ome`` files hold one channel, ``ome`` files all.
    free : bool
        Names that a person makes up, who may join the words in other ways.
    """

    name: str
    spell: Callable[[Shot], str]
    well: bool = True
    plate: bool = False
    words: bool = False
    stains: tuple[str, ...] = field(default=())
    kind: str = "plain"
    free: bool = False

    @property
    def behind(self) -> bool:
        """Whether words may stand behind the well."""
        return self.free or self.name in ("Olympus", "ImageJ C1-", "OME-TIFF a channel")


def _harmony(shot: Shot) -> str:
    return (
        f"r{shot.row + 1:02d}c{shot.column + 1:02d}f{shot.field:02d}p01-ch{shot.channel + 1}"
        "sk1fk1fl1.tiff"
    )


def _operetta(shot: Shot) -> str:
    return f"{shot.row + 1:03d}{shot.column + 1:03d}-{shot.field}-001001{shot.channel + 1:03d}.tif"


def _imagexpress(shot: Shot) -> str:
    serial = GUID.format(shot.channel) if shot.variant % 2 else ""
    planes = "_z1_t1" if shot.variant == 2 else ""
    return f"{shot.name(shot.where)}_s{shot.field}_w{shot.channel + 1}{planes}{serial}.TIF"


def _metamorph(shot: Shot) -> str:
    # The stain, or the laser that excites it.
    called = LASERS[shot.channel] if shot.variant == 3 else shot.stain
    return f"{shot.name('exp')}_w{shot.channel + 1}{called}_s{shot.number}_t1.TIF"


def _cellvoyager(shot: Shot) -> str:
    where = shot.name(shot.where)
    return f"{where}_T0001F{shot.field:03d}L01A01Z01C{shot.channel + 1:02d}.tif"


def _incell(shot: Shot) -> str:
    row = chr(ord("A") + shot.row)
    return f"{row} - {shot.column + 1:02d}(fld {shot.field} wv {shot.stain} - {shot.stain}).tif"


def _scanr(shot: Shot) -> str:
    well = 12 * shot.row + shot.column + 1
    return f"W{well:05d}--P{shot.number:05d}--Z00000--T00000--{shot.stain}.tif"


def _gen5(shot: Shot) -> str:
    if shot.variant == 3:
        made = f"Stitched[{shot.stain} 377,447]"
        return f"{shot.well}_-{shot.channel + 1}_{shot.channel + 1}_{shot.field}_{made}_001.tif"
    return f"{shot.well}_01_{shot.channel + 1}_{shot.field}_{shot.stain}_001.tif"


def _lasx(shot: Shot) -> str:
    if shot.variant % 2:
        return f"{shot.name('exp')}_z00_RAW_ch{shot.channel:02d}_{shot.number:03d}.tif"
    return f"{shot.name(f'Series{shot.number:03d}')}_ch{shot.channel:02d}.tif"


def _zen(shot: Shot) -> str:
    if shot.variant % 2:
        return f"{shot.name('Exp-01')}_s{shot.number:02d}c{shot.channel + 1}_ORG.tif"
    return f"{shot.name(f'Snap-{shot.number:03d}')}_c{shot.channel + 1}.tif"


def _nis(shot: Shot) -> str:
    if shot.variant % 2:
        return f"{shot.name()}{'_' * bool(shot.words)}t01xy{shot.number:02d}c{shot.channel + 1}.tif"
    return f"{shot.name('exp')}_XY{shot.number:02d}_C{shot.channel + 1}.tif"


def _keyence(shot: Shot) -> str:
    place = f"XY{shot.number:02d}" if shot.variant % 2 else f"{shot.number:05d}"
    return f"{shot.name('Image')}_{place}_CH{shot.channel + 1}.tif"


def _cellomics(shot: Shot) -> str:
    return f"MFGTMP-PC_101025100001_{shot.well}f{shot.field - 1:02d}d{shot.channel}.TIF"


def _evos(shot: Shot) -> str:
    return f"scan_Plate_R_p00_0_{shot.well}f{shot.field - 1:02d}d{shot.channel}.TIF"


def _micromanager(shot: Shot) -> str:
    if shot.variant % 2:
        return f"Pos{shot.number}/img_000000000_{shot.stain}_000.tif"
    place = f"channel{shot.channel:03d}_position{shot.number:03d}"
    return f"img_{place}_time000000000_z000.tif"


def _olympus(shot: Shot) -> str:
    return f"{shot.name(shot.where)}_F{shot.field:03d}C{shot.channel + 1:03d}.tif"


def _matrix(shot: Shot) -> str:
    return (
        f"image--L0000--S00--U{shot.column:02d}--V{shot.row:02d}--J08--E00--O00--"
        f"X{shot.field - 1:02d}--Y00--T0000--Z00--C{shot.channel:02d}.ome.tif"
    )


def _incucyte(shot: Shot) -> str:
    when = "2021y03m04d_10h00m"
    return f"{shot.name(shot.stain)}_{shot.well}_{shot.field}_{when}.tif"


def _imagej(shot: Shot) -> str:
    if shot.variant == 3:
        return f"{shot.name(shot.where)}_f{shot.field}.nd2 - C={shot.channel}.tif"
    return f"C{shot.channel + 1}-{shot.name(shot.where)}_f{shot.field}.tif"


def _plain(shot: Shot) -> str:
    return f"{shot.name(shot.where)}_f{shot.field}_{shot.stain}.tif"


def _stain_first(shot: Shot) -> str:
    return f"{shot.stain}_{shot.name(shot.where)}_f{shot.field}.tif"


def _ome(shot: Shot) -> str:
    return f"{shot.name(shot.where)}_f{shot.field}.ome.tif"


def _single_ome(shot: Shot) -> str:
    return f"{shot.name(shot.where)}_s{shot.field}_w{shot.channel + 1}.ome.tif"


STYLES = (
    Style("Opera / Harmony", _harmony),
    Style("Operetta", _operetta),
    Style("ImageXpress", _imagexpress, plate=True, words=True),
    Style("MetaMorph series", _metamorph, well=False, words=True),
    Style("CellVoyager", _cellvoyager, plate=True, words=True),
    Style("IN Cell", _incell),
    Style("ScanR", _scanr, well=False),
    Style("Gen5 / Cytation", _gen5),
    Style("LAS X", _lasx, well=False, words=True),
    Style("ZEN", _zen, well=False, words=True),
    Style("NIS-Elements", _nis, well=False, words=True),
    Style("Keyence", _keyence, well=False, words=True),
    Style("Cellomics", _cellomics),
    Style("EVOS", _evos),
    Style("Micro-Manager", _micromanager, well=False),
    Style("Olympus", _olympus, plate=True, words=True),
    Style("Leica matrix screener", _matrix, kind="single ome"),
    Style("Incucyte", _incucyte, words=True, stains=INCUCYTE),
    Style("ImageJ C1-", _imagej, plate=True, words=True),
    Style("plain", _plain, plate=True, words=True, free=True),
    Style("stain first", _stain_first, plate=True, words=True, free=True),
    Style("OME-TIFF", _ome, plate=True, words=True, kind="ome", free=True),
    Style("OME-TIFF a channel", _single_ome, plate=True, words=True, kind="single ome"),
)
