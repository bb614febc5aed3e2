"""What is copied is run, as Python and in the shell, and gives what the page made."""

import json
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import napari_why as why
from napari_why.batch import BatchOptions
from napari_why.cli import main
from napari_why.latent_space import find_outliers, project
from napari_why.output import generation_snippets, snippets
from napari_why.output.exchange_snippets import copy_export, copy_import
from napari_why.output.generation_snippets import copy_generation
from napari_why.screening import ScreenOptions
from napari_why.simulation import simulate_to_folder
from napari_why.simulation.compounds import ScreenDesign, simulate_screen

NETWORK = {"blocks": "1,1", "widths": "4,4", "downscaling": "2,2"}


@pytest.fixture
def run_shell(tmp_path, monkeypatch, capsys):
    """Run the line of a snippet in an empty folder, and return what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(snippet, code=0):
        (line,) = [line for line in snippet.shell.splitlines() if not line.startswith("#")]
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main(shlex.split(line)[1:])
        printed = capsys.readouterr()
        assert left.value.code == code, printed.err
        return printed.out

    return run


@pytest.fixture
def run_python(tmp_path, monkeypatch):
    """Run the lines of a snippet in an empty folder, and return its variables."""
    monkeypatch.chdir(tmp_path)

    def run(snippet, **known):
        found = dict(known)
        exec(snippet.python, found)  # noqa: S102 - that it runs is what is tested
        return found

    return run


@pytest.fixture
def image(scenes):
    return why.read(min(scenes.rglob("*.ome.tif")))


@pytest.fixture(scope="module")
def dataset(scenes):
    return why.Dataset.open(scenes).split(seed=0)


def test_data(dataset, run_python, run_shell):
    copied = snippets.copy_data(dataset)
    again = run_python(copied)["dataset"]
    assert again.fingerprint == dataset.fingerprint
    assert list(again.table["split"]) == list(dataset.table["split"])
    assert "diseased" in run_shell(copied)


def test_training(dataset, run_python, run_shell):
    options = {"size": 32, "epochs": 1, "lock": "none", "pixel_maps": False, "seed": 0}
    made = why.fit(dataset, "iresnet", network_parameters=NETWORK, **options)
    copied = snippets.copy_training(dataset, "iresnet", options, NETWORK)
    assert "seed" not in copied.python  # a default
    logits = made.predict(dataset.image(0)).logits
    found = run_python(copied)["classifier"]
    np.testing.assert_array_equal(found.predict(dataset.image(0)).logits, logits)
    Path("model").rename("by_python")
    run_shell(copied)
    np.testing.assert_array_equal(why.load("model").predict(dataset.image(0)).logits, logits)


@pytest.fixture
def with_split(scenes, tmp_path):
    """A table of the scenes with a split of its own."""
    table = pd.read_csv(scenes / "labels.csv", dtype=str)
    table["path"] = [str(scenes / path) for path in table["path"]]
    counts = table.groupby("label").cumcount()
    table["split"] = counts.map(lambda number: ("train", "validation", "test")[number % 3])
    table.to_csv(tmp_path / "images.csv", index=False)
    return why.Dataset.open(tmp_path / "images.csv")


@pytest.mark.parametrize("drawn", [None, 3])
def test_the_split_is_copied(with_split, scenes, run_python, run_shell, drawn):
    """That of the table, and one that was drawn in its place by another seed than the training's."""
    dataset = with_split if drawn is None else with_split.split(seed=drawn, redraw=True)
    options = {"size": 32, "epochs": 1, "lock": "none", "pixel_maps": False, "seed": 1}
    copied = snippets.copy_training(dataset, "cam_net", options, {})
    found = run_python(copied)
    assert list(found["dataset"].table["split"]) == list(dataset.table["split"])
    logits = found["classifier"].predict(dataset.image(0)).logits
    Path("model").rename("by_python")
    run_shell(copied)
    again = why.load("model")
    assert again.card["dataset"]["fingerprint"] == dataset.fingerprint  # which tells splits too
    np.testing.assert_array_equal(again.predict(dataset.image(0)).logits, logits)
    made = why.evaluate(again, dataset, nulls=False)
    copied = snippets.copy_evaluation(again, dataset, nulls=False)
    assert run_shell(copied).startswith("\n".join(made.sentences))


def test_evaluation(classifier, dataset, run_python, run_shell):
    made = why.evaluate(classifier, dataset, nulls=False)
    copied = snippets.copy_evaluation(classifier, dataset, nulls=False)
    assert run_python(copied)["found"].sentences == made.sentences
    assert run_shell(copied).startswith("\n".join(made.sentences))


def test_prediction(classifier, image, run_python, run_shell):
    made = classifier.predict(image)
    copied = snippets.copy_prediction(classifier, image.attrs)
    np.testing.assert_array_equal(run_python(copied)["found"].logits, made.logits)
    assert f"{made.probabilities['treated']:.4f}" in run_shell(copied)


def test_exchange(classifier, image, tmp_path, run_python, run_shell):
    """The same file is written again, and opened as a classifier that is saved."""
    path = tmp_path / "mine.onnx"
    why.export_model(classifier, path, image=image, any_size=False)
    copied = copy_export(classifier, path, "onnx", {"any_size": False, "title": ""}, image.attrs)
    assert "any_size" not in copied.python  # a default
    path.unlink()
    written = run_python(copied)["written"]
    assert written.path == path
    assert str(path) in run_shell(copied)  # over itself
    named = {"classes": "ill, well", "size": 0}
    opened = copy_import(path, named)
    assert run_python(opened)["classifier"].classes == ("ill", "well")
    Path("model").rename("by_python")
    run_shell(opened)
    with pytest.warns(UserWarning, match="ONNX"):
        found = [why.load(name).predict(image).probabilities for name in ("model", "by_python")]
    assert found[0] == found[1]


@pytest.mark.parametrize("target", ["treated", why.Contrast("treated", "diseased")])
def test_attribution(classifier, image, run_python, run_shell, target):
    made = why.attribute(classifier, image, "integrated_gradients", target, steps=3)
    copied = snippets.copy_result(classifier, made.record)
    assert "steps=3" in copied.python
    assert "baseline" not in copied.python  # a default
    np.testing.assert_array_equal(run_python(copied)["result"].maps, made.maps)
    run_shell(copied)
    np.testing.assert_array_equal(why.read("map.ome.tif")[:-1], made.maps)


def test_a_wrapped_attribution(classifier, image, run_python, run_shell):
    made = why.attribute(
        classifier, image, "saliency", wrapper="shift_averaged", wrapper_options={"reach": 2}
    )
    copied = snippets.copy_result(classifier, made.record)
    np.testing.assert_array_equal(run_python(copied)["result"].joint, made.joint)
    run_shell(copied)
    np.testing.assert_array_equal(why.read("map.ome.tif")[-1], made.joint)


def test_counterfactual_and_measurement(classifier, image, run_python, run_shell):
    made = why.counterfactual(classifier, image, method="gaussian_transport", steps=3, draws=0)
    copied = snippets.copy_result(classifier, made.record)
    np.testing.assert_array_equal(run_python(copied)["result"].images, made.images)
    run_shell(copied)
    np.testing.assert_array_equal(why.read("series.ome.tif"), made.images)
    found = why.measure(made, image, threshold="top", top_share=0.1)
    copied = snippets.copy_result(classifier, found.record)
    pd.testing.assert_frame_equal(run_python(copied)["found"].table, found.table)
    run_shell(copied)
    assert len(pd.read_csv("measured/regions.csv")) == len(found.table) > 0


def test_latent_space(classifier, tmp_path_factory, run_python, run_shell):
    # as many images as outliers need to be looked for
    folder = tmp_path_factory.mktemp("many") / "scenes"
    simulate_to_folder(folder, 20, size=32, wells=20)
    dataset = why.Dataset.open(folder)
    space = why.embed(classifier, dataset)
    plane = project(space, "pca")
    copied = snippets.copy_latent_space(classifier, dataset, "pca", {}, {"reference": "all"})
    search = find_outliers(space, reference="all")
    found = run_python(copied)
    np.testing.assert_array_equal(found["plane"].coordinates, plane.coordinates)
    assert found["outliers"].sentences == search.sentences
    run_shell(copied)
    assert len(pd.read_csv("latent_space/images.csv")) == len(dataset)


@pytest.mark.parametrize("kind", ["folder", "data set", "files"])
def test_batch(classifier, scenes, dataset, tmp_path, run_python, run_shell, kind):
    files = sorted(scenes.rglob("*.ome.tif"))[:2]
    images = {"folder": scenes, "data set": dataset, "files": files}[kind]
    options = BatchOptions.of_flat({"attribution": "saliency", "pictures": False})
    made = why.explain_many(classifier, images, tmp_path / "made", options)
    copied = snippets.copy_batch(classifier, images, tmp_path / "it's", options.to_flat())
    found = run_python(copied)["found"]
    pd.testing.assert_frame_equal(found.images, made.images)
    (tmp_path / "it's").rename(tmp_path / "by_python")
    run_shell(copied)
    again = pd.read_csv(tmp_path / "it's" / "images.csv")
    assert list(again["score"]) == pytest.approx(list(made.images["score"]))


def test_names_of_anybody_are_literals(classifier, image, tmp_path, run_python, run_shell):
    odd = tmp_path / '-a\'; touch evil; $(touch evil) "b"\n#c.ome.tif'
    why.write(image, odd)
    raw = why.read(odd)
    made = why.attribute(classifier, raw, "saliency")
    copied = snippets.copy_result(classifier, made.record)
    np.testing.assert_array_equal(run_python(copied)["result"].maps, made.maps)
    # a line break in a name makes two lines of the shell's one word: run it as it stands
    line = copied.shell
    with pytest.raises(SystemExit) as left:
        main(shlex.split(line, comments=False)[1:])
    assert left.value.code == 0
    assert not list(tmp_path.glob("evil*"))


def test_an_image_from_no_file_is_taken_from_the_viewer(classifier, run_python):
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_why.napari_reader import image_layers

    scene = why.simulate(4, size=32).image(0)
    viewer = ViewerModel()
    for data in image_layers(scene):
        viewer.add_layer(Layer.create(*data))
    raw = why.AttributionSession(viewer, classifier).subject().image
    made = why.attribute(classifier, raw, "saliency")
    copied = snippets.copy_result(classifier, made.record)
    assert "in no file" in copied.python
    assert "save its layers" in copied.shell
    np.testing.assert_array_equal(run_python(copied, viewer=viewer)["result"].maps, made.maps)


def test_a_classifier_in_no_folder_is_to_be_saved_first(dataset):
    made = why.fit(
        dataset,
        "iresnet",
        size=32,
        epochs=1,
        lock="none",
        pixel_maps=False,
        network_parameters=NETWORK,
    )
    copied = snippets.copy_evaluation(made, dataset)
    assert "save it as 'model' first" in copied.python
    assert copied.shell.startswith("# the classifier is in no folder yet")


def test_a_split_drawn_anew_and_chosen_values_are_copied(scenes, tmp_path, run_python):
    table = pd.read_csv(scenes / "labels.csv", dtype=str)
    table["path"] = [str(scenes / path) for path in table["path"]]
    counts = table.groupby("label").cumcount()
    table["split"] = counts.map(dict(enumerate(["train", "validation", "test"])))
    table["dose"] = counts.map(dict(enumerate(["0.5", "1.0", "2.0"])))
    table.to_csv(tmp_path / "images.csv", index=False)
    opened = why.Dataset.open(tmp_path / "images.csv", max_unreadable=0.2, allow_leak=True)
    for dataset in (opened.split(seed=2, redraw=True), opened.where("dose", ["0.5", "1.0"])):
        copied = snippets.copy_data(dataset)
        again = run_python(copied)["dataset"]
        assert list(again.table["split"]) == list(dataset.table["split"])
        assert again.fingerprint == dataset.fingerprint
        assert again.opened_as == dataset.opened_as
        assert "max_unreadable=0.2, allow_leak=True" in copied.python
        assert "no option for max_unreadable and allow_leak" in copied.shell


@pytest.mark.parametrize("same", [True, False])
def test_a_batch_takes_channels_and_references(classifier, scenes, tmp_path, run_python, same):
    dataset = why.Dataset.open(scenes, channels=list(classifier.channels))
    references = dataset if same else why.Dataset.open(scenes)
    options = {"attribution": "expected_gradients", "pictures": False}
    copied = snippets.copy_batch(classifier, dataset, tmp_path / "out", options, references)
    assert f"--channels={','.join(classifier.channels)}" in shlex.split(copied.shell, comments=True)
    assert f"--references={scenes}" in shlex.split(copied.shell, comments=True)
    assert ("without channels" in copied.shell) == same
    assert f"references={'dataset' if same else 'references'})" in copied.python
    assert set(run_python(copied)["found"].images["error"]) == {""}
    options["attribution"] = "saliency"
    copied = snippets.copy_batch(classifier, dataset, tmp_path / "out", options, references)
    assert "references" not in copied.python + copied.shell


def test_likeness_to_an_image_from_no_file_is_said(classifier, image):
    other = why.simulate(4, size=32).image(0)
    other.attrs["source"] = ""
    made = why.attribute(classifier, image, "saliency", why.Similarity(other))
    copied = snippets.copy_result(classifier, made.record)
    assert "in no file" in copied.python
    assert "why.read('image.ome.tif')" in copied.python
    assert "--similar-to=image.ome.tif" in copied.shell


QUICK = {"size": 32, "epochs": 1, "threads": 1, "device": "cpu"}


@pytest.fixture(scope="module")
def plate(tmp_path_factory):
    """Scenes of which enough are for training to play with: two a class."""
    folder = tmp_path_factory.mktemp("plate") / "scenes"
    simulate_to_folder(folder, 12, size=32, wells=12)
    return folder


@pytest.fixture(scope="module")
def vae(scenes, tmp_path_factory):
    made = why.fit(
        why.Dataset.open(scenes).split(seed=0),
        "vae",
        network_parameters={"widths": "4,8", "latent_dimensions": 6},
        **QUICK,
    )
    return why.load(made.save(tmp_path_factory.mktemp("vae") / "model"))


@pytest.mark.parametrize("task", ["reconstruct", "traverse", "sample", "interpolate"])
def test_what_a_classifier_makes(vae, scenes, image, run_python, run_shell, task):
    other = why.read(max(scenes.rglob("*.ome.tif")))
    made = {
        "reconstruct": lambda: why.reconstruct(vae, image),
        "traverse": lambda: why.traverse(vae, image, dimension=2, steps=3),
        "sample": lambda: why.sample(vae, count=3, seed=5),
        "interpolate": lambda: why.interpolate(vae, image, other, steps=4),
    }[task]()
    copied = copy_generation(vae, made.record)
    wanted = made.reconstruction if task == "reconstruct" else made.images
    again = run_python(copied)["result"]
    found = again.reconstruction if task == "reconstruct" else again.images
    np.testing.assert_array_equal(found, wanted)
    run_shell(copied)
    # of a reconstruction the file holds the errors too
    written = np.asarray(why.read("generated.ome.tif"))
    np.testing.assert_array_equal(written[: len(wanted)], wanted)


def test_values_of_a_traversal_are_copied_where_they_were_given(vae, image, run_python):
    made = why.traverse(vae, image, dimension=1, values=[0.0, 0.5])
    copied = copy_generation(vae, made.record)
    np.testing.assert_array_equal(run_python(copied)["result"].images, made.images)
    assert "no option for values" in copied.shell


@pytest.mark.parametrize("conditional", [True, False])
def test_a_generator_and_what_it_draws(plate, run_python, run_shell, conditional):
    options = {**QUICK, "widths": "8,4", "code_dimensions": 6, "conditional": conditional}
    dataset = why.Dataset.open(plate)
    generator = why.fit_generator(dataset, **options)
    copied = generation_snippets.copy_generator_training(dataset, options)
    assert run_python(copied)["generator"].fingerprint == generator.fingerprint
    Path("generator").rename("by_python")
    run_shell(copied)
    assert why.load_generator("generator").fingerprint == generator.fingerprint
    label = "treated" if conditional else ""
    for made in (
        generator.sample(count=2, seed=3, label=label),
        generator.interpolate(first=2, steps=3, label=label),
    ):
        copied = copy_generation(generator, made.record, "generator")
        np.testing.assert_array_equal(run_python(copied)["result"].images, made.images)
        run_shell(copied)
        np.testing.assert_array_equal(why.read("generated.ome.tif"), made.images)
        for written in Path().glob("generated.*"):  # and its record
            written.unlink()
    assert "save it as 'generator' first" in copy_generation(generator, made.record).shell


def test_a_channel_predictor_and_what_it_predicts(plate, image, run_python, run_shell):
    options = {**QUICK, "widths": "4,6", "discriminator_widths": "4,6", "plain": False}
    dataset = why.Dataset.open(plate)
    predictor = why.fit_channel_predictor(dataset, "TMRM", **options)
    copied = generation_snippets.copy_predictor_training(dataset, "TMRM", options)
    assert run_python(copied)["predictor"].fingerprint == predictor.fingerprint
    Path("predictor").rename("by_python")
    run_shell(copied)
    assert why.load_channel_predictor("predictor").fingerprint == predictor.fingerprint
    made = why.predict_channel(predictor, image)
    copied = copy_generation(predictor, made.record, "predictor")
    np.testing.assert_array_equal(run_python(copied)["result"].images, made.images)
    run_shell(copied)
    np.testing.assert_array_equal(why.read("generated.ome.tif"), made.images)


@pytest.mark.parametrize("kind", ["translation", "flow"])
def test_what_leads_a_classifier_to_other_classes(classifier, plate, run_python, run_shell, kind):
    options = {"epochs": 1, "threads": 1, "device": "cpu", "widths": "4,6"}
    dataset = why.Dataset.open(plate).split(seed=classifier.card["parameters"]["seed"])
    fit = why.fit_flow if kind == "flow" else why.fit_translation
    made = fit(classifier, dataset, **options)
    copied = generation_snippets.copy_translation_training(
        classifier, dataset, options, flow=kind == "flow"
    )
    assert run_python(copied)["classifier"].fingerprint == made.fingerprint
    Path("translating").rename("by_python")
    run_shell(copied)
    assert why.load("translating").fingerprint == made.fingerprint


def test_images_from_no_file_are_to_be_saved_first(vae):
    scenes = why.simulate(4, size=32)
    first, second = scenes.image(0), scenes.image(1)
    made = why.interpolate(vae, first, second, steps=2)
    copied = copy_generation(vae, made.record)
    assert "save its layers as second.ome.tif first" in copied.python
    assert copied.shell.count("first\n") == 2


@pytest.fixture(scope="module")
def plate_map(tmp_path_factory):
    design = ScreenDesign(compounds=2, actives=0, plates=1, shape=(2, 3), size=32)
    return simulate_screen(tmp_path_factory.mktemp("screen") / "data", design)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_screen(classifier, plate_map, tmp_path, run_python, run_shell, workers):
    asked = {"healthy": "treated", "negative": "DMSO", "counterfactual": "mean_shift"}
    options = ScreenOptions.of_flat({**asked, "draws": 200})
    call = snippets.ScreenCall(
        plates=[plate_map.parent / "plates"],
        plate_map=plate_map,
        out=tmp_path / "out",
        options=options.to_flat(),
        workers=workers,
        read_as={"channels": ["DAPI", "TMRM"]},
    )
    copied = snippets.copy_screen(classifier, call)
    assert ("engine" in copied.python) == bool(workers)
    found = run_python(copied, __name__="__main__")["found"]
    assert found.complete
    assert found.record.parameters["draws"] == 200
    assert "of 6 wells on 1 plates were done" in run_shell(copied)
    again = json.loads((tmp_path / "out" / "plan.json").read_text())
    assert again["fingerprint"] == found.record.details["plan"]
    assert again["sources"] == {
        "plates": [str(plate_map.parent / "plates")],
        "plate_map": str(plate_map),
        "channels": ["DAPI", "TMRM"],
    }


def test_options_of_a_screen_in_one_list_are_the_same():
    asked = {"healthy": "treated", "attribution": "saliency", "counterfactual": "transport"}
    for further in ({}, {"target": "diseased"}, {"pictures": True, "change_steps": 3, "seed": 4}):
        options = ScreenOptions.of_flat({**asked, **further})
        flat = options.to_flat()
        assert ScreenOptions.of_flat(flat) == options
        assert ("target" in flat) == ("target" in further)
    assert ScreenOptions().to_flat() == {}
