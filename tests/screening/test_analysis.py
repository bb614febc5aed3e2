"""What is said of a screen: compounds of known effect, bad plates, and what is missing."""

import numpy as np
import pandas as pd
import pytest

from napari_why.screening import ScreenOptions, analyse_screen, is_hit
from napari_why.screening.tables import AREA, count_kinds, gather_wells, order_columns
from napari_why.simulation.wells import NAMES, WellsDesign, simulate_wells

OPTIONS = ScreenOptions(negative="DMSO", positive="healthy", draws=200)
# Way to healthy and change across it, in deviations of a well.
EFFECTS = {"full": (8.0, 0.0), "half": (4.0, 0.0), "both": (8.0, 6.0), "other": (0.0, 6.0)}
LATENTS = 5


def screened(plates=3, *, doses=None, seed=0, gradient=0.0):
    """Wells of plates of 96: controls in the first and last column, compounds, and 20 that do nothing."""
    rng = np.random.default_rng(seed)
    names = [*EFFECTS, "poison", *(f"nothing {number}" for number in range(20))]
    rows = []
    for plate in range(plates):
        places = rng.permutation(
            [f"{row}{column:02d}" for row in "ABCDEFGH" for column in range(2, 12)]
        )
        wells = dict(zip(places, names, strict=False))
        if doses is not None:
            wells |= {
                place: ("dosed", dose)
                for place, dose in zip(places[len(names) :], doses, strict=False)
            }
        for number, row in enumerate("ABCDEFGH"):
            wells |= {
                f"{row}01": ("DMSO", "healthy")[number % 2],
                f"{row}12": ("healthy", "DMSO")[number % 2],
            }
        for well, what in wells.items():
            name, dose = what if isinstance(what, tuple) else (what, 0.0)
            way, across = EFFECTS.get(name, (0.0, 0.0))
            if name == "healthy":
                way = 8.0
            if name == "dosed":
                way = 8 / (1 + 3 / dose)
            latents = rng.normal(0, 1, LATENTS)
            latents[0] += way
            latents[1] += across
            odds = latents[0] + plate + gradient * int(well[1:])
            rows.append(
                {
                    "Metadata_Plate": f"P{plate + 1}",
                    "Metadata_Well": well,
                    "Metadata_Site": "1",
                    "Metadata_Compound": name,
                    "Metadata_Role": {
                        "DMSO": "negative control",
                        "healthy": "positive control",
                    }.get(name, "sample"),
                    **({} if doses is None else {"Metadata_Dose": dose}),
                    **dict.fromkeys(("Metadata_image", "Metadata_error", "Metadata_notes"), ""),
                    **dict.fromkeys(("Metadata_unlike", "Metadata_predicted"), ""),
                    "Metadata_quality": "hardly any cells" if name == "poison" else "",
                    "Metadata_trained on": False,
                    "flagged": float(name == "poison"),
                    "unlike the training images": 0.0,
                    "probability of healthy": 1 / (1 + np.exp(-odds)),
                    "log-odds of healthy": odds,
                    **{f"latent {place}": value for place, value in enumerate(latents)},
                }
            )
    return gather_wells(order_columns(pd.DataFrame(rows)))


@pytest.fixture(scope="module")
def found():
    return analyse_screen(screened(), OPTIONS)


def test_compounds_of_known_effect_are_told_apart(found):
    hits = found.hits.set_index("compound")
    assert hits.loc["full", "finding"] == "towards healthy"
    assert hits.loc["half", "finding"] == "towards healthy"
    assert hits.loc["both", "finding"] == "towards healthy, with other change"
    assert hits.loc["other", "finding"] == "other change"
    assert hits.loc["poison", "finding"].startswith("not judged: hardly any cells")
    nothing = hits[hits.index.str.startswith("nothing")]
    assert (nothing["finding"] == "no change shown").mean() >= 0.8
    assert set(found.hits["compound"][is_hit(found.hits)]) >= {"full", "half", "both"}
    assert not {"DMSO", "healthy"} & set(hits.index)


def test_other_change_that_the_network_does_not_see_is_found_by_textures():
    wells = screened()
    across, seen = wells.pop("latent 1"), wells.rename(columns={"latent 2": "latent 1"})
    seen = seen.rename(columns={"latent 3": "latent 2", "latent 4": "latent 3"})
    blind = analyse_screen(seen, OPTIONS).hits.set_index("compound")
    assert blind.loc["other", "finding"] == "no change shown"
    measured = seen.assign(**{"texture of DAPI: mean": 300 + 20 * across})
    found = analyse_screen(measured, OPTIONS).hits.set_index("compound")
    assert found.loc["other", "finding"] == "other change"
    assert found.loc["both", "finding"] == "towards healthy, with other change"
    assert found.loc["full", "finding"] == "towards healthy"


def test_scores_are_in_parts_of_the_way_and_deviations(found):
    hits = found.hits.set_index("compound")
    for name, way in (("full", 1.0), ("half", 0.5), ("other", 0.0)):
        row = hits.loc[name]
        assert row["on-target low"] < way < row["on-target high"]
        assert row["on-target in latents"] == pytest.approx(way, abs=0.3)
    assert hits.loc["both", "off-target low"] < 6 < hits.loc["both", "off-target high"]
    assert hits.loc["full", "activity"] == 1
    assert hits.loc["full", "activity p corrected"] < 0.05
    assert (hits["wells"] == 3).all()


def test_p_are_corrected_over_what_is_judged_and_hits_by_their_other_change(found):
    from scipy.stats import false_discovery_control

    hits = found.hits
    judged = ~hits["finding"].str.startswith("not judged")
    assert list(hits["compound"][~judged]) == ["poison"]
    shown = judged & (hits["other change"] == "shown")
    for kind, families in (("off-target", [judged]), ("on-target", [judged & ~shown, shown])):
        expected = np.full(len(hits), np.nan)
        for family in families:
            expected[family] = false_discovery_control(hits[f"{kind} p"][family], method="bh")
        np.testing.assert_allclose(hits[f"{kind} p corrected"], expected)


def test_what_lies_further_off_than_the_controls_lie_apart_is_no_hit():
    wells = screened()
    far = wells["Metadata_Compound"] == "both"
    wells.loc[far, "latent 3"] += 40
    hits = analyse_screen(wells, OPTIONS).hits.set_index("compound")
    assert hits.loc["both", "finding"] == "unlike both controls"
    assert hits.loc["both", "on-target p corrected"] < 0.05  # the log-odds alone would say so
    assert "both" not in set(hits.index[is_hit(hits)])


def test_the_number_that_tells_of_other_change_is_named():
    wells = screened()
    noise = np.random.default_rng(3).normal(0, 1, (len(wells), 3))
    names = [f"texture of DAPI: {name}" for name in ("mean", "deviation", "regions")]
    wells = wells.assign(**dict(zip(names, noise.T, strict=True)))
    wells.loc[wells["Metadata_Compound"] == "full", "texture of DAPI: regions"] -= 6
    hits = analyse_screen(wells, OPTIONS).hits.set_index("compound")
    assert hits.loc["full", "finding"] == "towards healthy, with other change"
    assert hits.loc["full", "largest change"] == "texture of DAPI: regions"
    assert hits.loc["full", "largest change size"] < -3


def leave(wells, role, count):
    """Leave so many wells of a role on each plate."""
    own = wells[wells["Metadata_Role"] == role]
    first = own.groupby("Metadata_Plate").head(count).index
    return wells.drop(index=own.index.difference(first)).reset_index(drop=True)


def test_that_no_texture_could_be_tested_alone_is_said():
    wells = simulate_wells(WellsDesign(compounds=20, controls=8, plates=4))
    one_positive = leave(wells, "positive control", 1)
    found = analyse_screen(one_positive, OPTIONS)
    assert (found.hits["largest change"] != "").all()
    assert not any("tested alone" in one for one in found.warnings)
    neither = analyse_screen(leave(one_positive, "negative control", 1), OPTIONS)
    assert (neither.hits["largest change"] == "").all()
    assert any("no texture was tested alone" in one for one in neither.warnings)


def test_compounds_that_do_nothing_are_not_active_for_sharing_a_plate():
    active = []
    for seed in range(3):
        design = WellsDesign(compounds=20, controls=4, plates=8, active=0, other=0, seed=seed)
        wells = simulate_wells(design)
        latents = {name: f"latent {place}" for place, name in enumerate(NAMES)}
        wells = wells.rename(columns=latents)
        # two wells of each compound, both on one plate
        sample, number = wells["Metadata_Role"] == "sample", np.arange(len(wells)) // 2
        wells.loc[sample, "Metadata_Compound"] = [f"C{one}" for one in number[sample]]
        hits = analyse_screen(wells, OPTIONS).hits
        assert (hits["plates"] == 1).all()
        active += (hits["activity p"] <= 0.1).tolist()
    # those of a plate share its controls: a bound, and no exact test
    assert np.mean(active) < 0.14


def test_two_wells_that_show_no_other_change_are_said_to_leave_it_open(found):
    hits = analyse_screen(screened(2), OPTIONS).hits.set_index("compound")
    assert set(hits["other change"]) <= {
        "shown",
        "less than the controls lie apart",
        "cannot be told with 2 wells",
    }
    assert hits.loc["both", "other change"] == "shown"
    # far fewer directions, and controls that lie further apart than what two wells leave open
    assert hits.loc["full", "other change"] == "less than the controls lie apart"
    near = screened(2)
    for number in range(LATENTS):
        near[f"latent {number}"] += np.random.default_rng(number).normal(0, 8, len(near))
    told = analyse_screen(near, OPTIONS)
    open_ones = told.hits["other change"] == "cannot be told with 2 wells"
    assert open_ones.mean() > 0.5
    clean = open_ones & (told.hits["finding"] == "towards healthy")
    assert clean.any() == any(
        "it cannot be told that they have none" in one for one in told.sentences
    )


def dosed_plate(*, shuffled):
    """Wells of eight compounds, one a row, in ten doses from column 2 on, that all act alike."""
    rng = np.random.default_rng(7)
    places = [(row, column) for row in range(8) for column in range(10)]
    at = rng.permutation(len(places)) if shuffled else np.arange(len(places))
    rows = [
        (f"{'ABCDEFGH'[places[one][0]]}{places[one][1] + 2:02d}", f"C{row}", 3.0**column, "sample")
        for one, (row, column) in zip(at, places, strict=True)
    ]
    for number, letter in enumerate("ABCDEFGH"):
        for column, name in (
            (1, ("DMSO", "healthy")[number % 2]),
            (12, ("healthy", "DMSO")[number % 2]),
        ):
            role = "negative control" if name == "DMSO" else "positive control"
            rows.append((f"{letter}{column:02d}", name, np.nan, role))
    names = ["Metadata_Well", "Metadata_Compound", "Metadata_Dose", "Metadata_Role"]
    wells = pd.DataFrame(rows, columns=names)
    way = np.where(wells["Metadata_Role"] == "positive control", 8.0, 0.0)
    way = way + 8 / (1 + 100 / wells["Metadata_Dose"].fillna(1e-9))
    return wells.assign(
        **{
            "Metadata_Plate": "P1",
            "Metadata_quality": "",
            "Metadata_fields": 1,
            "Metadata_fields failed": 0,
            "flagged": 0.0,
            "log-odds of healthy": way + rng.normal(0, 1, len(wells)),
        }
    )


def test_doses_along_columns_are_told_and_not_taken_out_with_the_place():
    along, at_random = (analyse_screen(dosed_plate(shuffled=one), OPTIONS) for one in (False, True))
    assert any(one.startswith("doses go with columns on plate P1") for one in along.warnings)
    assert any(one.startswith("compounds go with rows on plate P1") for one in along.warnings)
    assert not any("go with" in one for one in at_random.warnings)
    # what all doses of a column have in common is their effect
    assert not any("trust B scores more" in one for one in along.warnings)
    strong = along.hits[along.hits["dose"] == 3.0**9]
    assert (strong["B score of log-odds"] > 0).all()


def duplicated_plate(*, together):
    """Eight rows of ten compounds that do nothing, each in two wells of its row, and rows of their own effect.

    Wells of a compound lie side by side, or all wells of a row are one compound's.
    """
    rng = np.random.default_rng(3)
    rows = [
        (f"{letter}{column + 2:02d}", f"C{letter}{0 if together else column // 2}", number)
        for number, letter in enumerate("ABCDEFGH")
        for column in range(20)
    ]
    controls = [
        (f"{letter}{column:02d}", ("DMSO", "healthy")[(number + column) % 2], number)
        for number, letter in enumerate("ABCDEFGH")
        for column in (1, 22)
    ]
    wells = pd.DataFrame([*rows, *controls], columns=["Metadata_Well", "Metadata_Compound", "row"])
    roles = {"DMSO": "negative control", "healthy": "positive control"}
    values = 3.0 * wells["row"] + 8.0 * (wells["Metadata_Compound"] == "healthy")
    return wells.drop(columns="row").assign(
        **{
            "Metadata_Plate": "P1",
            "Metadata_Role": wells["Metadata_Compound"].map(roles).fillna("sample"),
            "Metadata_quality": "",
            "Metadata_fields": 1,
            "Metadata_fields failed": 0,
            "flagged": 0.0,
            "log-odds of healthy": values + rng.normal(0, 1, len(wells)),
        }
    )


def test_replicates_side_by_side_are_no_compound_of_a_row():
    def rows_in_b_scores(found):
        wells = found.wells[found.wells["Metadata_Role"] == "sample"]
        row = wells["Metadata_Well"].str[0].map("ABCDEFGH".index)
        return float(np.corrcoef(row, wells["B score of log-odds of healthy"])[0, 1])

    beside = analyse_screen(duplicated_plate(together=False), OPTIONS)
    assert not any("go with" in one for one in beside.warnings)
    assert abs(rows_in_b_scores(beside)) < 0.1
    # the effect of a row that is one compound's may be the compound's: it is left alone
    whole = analyse_screen(duplicated_plate(together=True), OPTIONS)
    assert any("compounds go with rows" in one for one in whole.warnings)
    assert rows_in_b_scores(whole) > 0.9


def test_compounds_in_the_same_well_of_each_plate_are_told(found):
    wells = screened(2)
    assert not any("in the same well" in one for one in analyse_screen(wells, OPTIONS).warnings)
    first = wells[wells["Metadata_Plate"] == "P1"]
    again = pd.concat([first, first.assign(Metadata_Plate="P2")], ignore_index=True)
    told = analyse_screen(again, OPTIONS).warnings
    assert any(
        "25 of 25 compounds and doses on several plates lie in the same well" in one for one in told
    )


def test_controls_are_judged_by_plate_and_together(found):
    controls = found.controls.set_index(["plate", "score", "measure"])
    each = [
        controls.loc[(plate, "log-odds of healthy", "SSMD"), "value"]
        for plate in ("P1", "P2", "P3")
    ]
    together = controls.loc[("all", "log-odds of healthy", "SSMD"), "value"]
    # plates lie a deviation apart each, which is no spread of the controls of any of them
    assert together == pytest.approx(8 / np.sqrt(2), rel=0.25)
    assert min(each) * 0.8 < together < max(each) * 1.2
    flattered = controls.loc[("P3", "probability of healthy", "Z'"), "value"]
    assert flattered != controls.loc[("P3", "log-odds of healthy", "Z'"), "value"]


def test_one_negative_control_a_plate_tells_of_no_spread():
    wells = screened()
    controls = analyse_screen(leave(wells, "negative control", 1), OPTIONS).controls
    together = controls[controls["plate"] == "all"]
    assert len(together) == 8
    assert together[["value", "low", "high"]].isna().all(axis=None)
    assert (together["negative wells"] == 3).all()


@pytest.mark.filterwarnings("error")
def test_plates_without_negative_controls_have_an_analysis():
    wells = screened()
    wells = wells[wells["Metadata_Role"] != "negative control"].reset_index(drop=True)
    found = analyse_screen(wells, OPTIONS)
    assert found.controls.empty
    assert any("there is no negative control" in one for one in found.warnings)


def test_a_gradient_is_told_and_drift_too(found):
    said = " ".join(analyse_screen(screened(gradient=2.0), OPTIONS).sentences)
    assert "rows and columns explain" in said
    assert "drift over the plates" in " ".join(found.sentences)
    quiet = " ".join(analyse_screen(screened(1), OPTIONS).sentences)
    assert "rows and columns explain" not in quiet
    assert "drift" not in quiet


def test_controls_that_share_no_column_are_told():
    wells = screened(1)
    assert "share no column" not in " ".join(analyse_screen(wells, OPTIONS).sentences)
    left = wells["Metadata_Well"].str.endswith("01")
    positive = wells["Metadata_Role"] == "positive control"
    apart = wells[~((left & positive) | (~left & (wells["Metadata_Role"] == "negative control")))]
    assert "share no column" in " ".join(
        analyse_screen(apart.reset_index(drop=True), OPTIONS).sentences
    )


def test_doses_of_a_known_curve():
    doses = np.tile([0.3, 1.0, 3.0, 10.0, 30.0], 3)
    found = analyse_screen(screened(2, doses=doses), OPTIONS)
    row = found.doses.set_index("compound").loc["dosed"]
    assert row["EC50 low"] < 3 < row["EC50 high"]
    assert row["top"] == pytest.approx(1, abs=0.25)
    assert any(sentence.startswith("dosed: EC50") for sentence in found.sentences)
    dosed = found.hits[found.hits["compound"] == "dosed"]
    assert sorted(dosed["dose"]) == [0.3, 1, 3, 10, 30]


def test_without_controls_nothing_is_claimed():
    wells = screened(1)
    wells["Metadata_Role"] = "sample"
    found = analyse_screen(wells, ScreenOptions(draws=100))
    assert found.controls.empty
    assert found.hits["on-target"].isna().all()
    assert found.hits["finding"].str.startswith("not judged").all()
    assert (
        sum("control" in sentence and "there is no" in sentence for sentence in found.sentences)
        == 2
    )


def test_a_screen_of_unreadable_fields_has_an_analysis():
    wells = screened(1)[["Metadata_Plate", "Metadata_Well", "Metadata_Compound", "Metadata_Role"]]
    wells = wells.assign(
        **{"Metadata_fields": 0, "Metadata_fields failed": 1, "Metadata_quality": ""}
    )
    found = analyse_screen(wells, OPTIONS)
    assert found.hits["finding"].str.startswith("not judged").all()
    assert any("could not be read" in sentence for sentence in found.sentences)


def test_a_dose_that_has_no_curve_costs_no_other_compound():
    wells = screened(2, doses=np.tile([0.3, 1.0, 3.0, 10.0, 30.0], 3))
    full = wells["Metadata_Compound"] == "full"
    wells.loc[full, "Metadata_Dose"] = [-1.0, 1.0]
    doses = analyse_screen(wells, OPTIONS).doses.set_index("compound")
    assert "the least -1" in doses.loc["full", "note"]
    assert np.isnan(doses.loc["full", "EC50"])
    assert doses.loc["dosed", "EC50 low"] < 3 < doses.loc["dosed", "EC50 high"]


def test_change_left_of_what_is_not_known_is_not_0():
    wells = screened()
    role, compound = wells["Metadata_Role"], wells["Metadata_Compound"]
    area = np.where(role == "positive control", 0.0, 100.0)
    area[compound == "full"] = 0.0  # healthy already
    area[compound == "half"] = np.nan  # failed
    area += np.where(role == "negative control", np.arange(len(wells)) % 3 - 1.0, 0.0)
    hits = analyse_screen(wells.assign(**{AREA: area}), OPTIONS).hits.set_index("compound")
    assert hits.loc["full", "change left"] == pytest.approx(0, abs=0.02)
    assert np.isnan(hits.loc["half", "change left"])
    assert hits.loc["other", "change left"] == pytest.approx(1, abs=0.02)


def test_wells_without_latents_have_no_part_in_the_activity():
    wells = screened()
    latents = [f"latent {place}" for place in range(LATENTS)]
    full, half = (np.flatnonzero(wells["Metadata_Compound"] == name) for name in ("full", "half"))
    wells.loc[[full[0], *half[:2]], latents] = np.nan
    negative = np.flatnonzero(wells["Metadata_Role"] == "negative control")
    wells.loc[negative[:3], latents] = np.nan
    hits = analyse_screen(wells, OPTIONS).hits.set_index("compound")
    kept = analyse_screen(wells.dropna(subset=latents).reset_index(drop=True), OPTIONS)
    alone = kept.hits.set_index("compound")
    for name in ("activity", "activity by chance", "activity p"):
        assert hits.loc["full", name] == pytest.approx(alone.loc["full", name])
        assert np.isnan(hits.loc["half", name])


def test_a_way_that_leads_from_healthy_judges_no_compound():
    wells = screened()
    role = wells["Metadata_Role"]
    swapped = {"negative control": "positive control", "positive control": "negative control"}
    found = analyse_screen(wells.assign(Metadata_Role=role.replace(swapped)), OPTIONS)
    assert "check healthy (healthy), negative (DMSO) and positive (healthy)" in found.warnings[0]
    assert found.hits["finding"].str.startswith("not judged: positive controls have lower").all()
    assert found.doses.empty


def test_controls_that_may_be_alike_are_warned_of(found):
    assert not any("way to healthy is not known" in sentence for sentence in found.warnings)
    wells = screened()
    for role, middle in (("negative control", 0.0), ("positive control", 0.05)):
        here = wells["Metadata_Role"] == role
        wells.loc[here, "log-odds of healthy"] = middle + np.resize([-1.0, 1.0], here.sum())
    told = analyse_screen(wells, OPTIONS).warnings
    assert any("the way to healthy is not known" in sentence for sentence in told)


def test_the_reason_is_the_true_one_and_other_change_is_kept():
    wells = screened()
    only = wells[wells["Metadata_Role"] != "positive control"].reset_index(drop=True)
    numbers = [name for name in only if not name.startswith("Metadata_")]
    lost = only["Metadata_Compound"] == "nothing 0"
    only.loc[lost, numbers] = np.nan
    findings = analyse_screen(only, OPTIONS).hits.set_index("compound")["finding"]
    assert findings["nothing 0"] == "not judged: no field could be read"
    assert findings["poison"].startswith("not judged: hardly any cells")
    assert findings["other"] == "other change"
    assert findings["nothing 1"] == "not judged: too few controls"


def test_kinds_are_counted():
    assert count_kinds([]) == count_kinds(["", None]) == ""
    assert count_kinds(["a", "a; b"]) == "a (2); b (1)"
