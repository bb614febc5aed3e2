"""Two threads at one network: explanations wait for each other, and none meets a training."""

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from napari_why.attribution import METHODS, Attribution, attribute, explaining
from napari_why.core.errors import CancellationError, NetworkBusyError
from napari_why.core.events import Advanced, Message
from napari_why.model import Classifier
from napari_why.networks import build_network, wrap
from napari_why.training import TensorExamples, TrainingOptions, train_network

PARAMETERS: dict[str, dict[str, Any]] = {
    "occlusion": {"window": 4, "stride": 4},
    "integrated_gradients": {"steps": 8},
    "hires_cam": {"layer": "0"},
    "information_bottleneck": {"layer": "0", "steps": 2, "samples": 2},
    "rise": {"samples": 16},
    "smoothgrad": {"samples": 4},
    "expected_gradients": {"samples": 4},
}
# seconds for what takes milliseconds: a test that waits in vain is to fail, and not to hang
LONG = 60


@pytest.fixture
def users_own(classifier) -> Classifier:
    """A network of a user's modules, whose layers are watched by hooks."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Conv2d(6, 6, 3),
            nn.ReLU(),
        )
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))
    network = wrap(encoder, head, input_channels=2, classes=3, layers=["0", "2"])
    return Classifier(network, classifier.preprocessing, classifier.classes)


def same(one: Attribution, other: Attribution) -> bool:
    return np.array_equal(one.maps, other.maps) and np.array_equal(one.joint, other.joint)


def test_two_threads_get_the_maps_that_one_would(users_own, image, given) -> None:
    names = sorted(METHODS)
    other = image.copy(data=image.values[:, ::-1].copy())

    def explain(job: tuple[str, Any]) -> Attribution:
        name, subject = job
        context = given(name, users_own.prepare(subject), users_own, subject)
        return attribute(users_own, subject, name, 1, **PARAMETERS.get(name, {}), **context)

    jobs = [(name, subject) for name in names for subject in (image, other)]
    alone = [explain(job) for job in jobs] * 2  # a method gives the same maps each time
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(explain, jobs * 2))
    assert all(same(one, two) for one, two in zip(alone, together, strict=True))
    assert [one.record.details["logits"] for one in alone] == [
        two.record.details["logits"] for two in together
    ]


def test_predictions_meanwhile_are_what_they_were_and_do_not_wait(users_own, image) -> None:
    """An explanation that stands still for good does not keep a prediction from its answer."""
    expected = users_own.predict(image)
    inside, leave = Event(), Event()

    def stand_still() -> bool:
        inside.set()
        leave.wait(LONG)
        return False

    found: list[Attribution] = []
    thread = Thread(
        target=lambda: found.append(
            attribute(users_own, image, "occlusion", window=8, stride=8, cancelled=stand_still)
        )
    )
    thread.start()
    assert inside.wait(LONG)
    assert np.array_equal(users_own.predict(image).logits, expected.logits)
    leave.set()
    thread.join(LONG)
    assert same(found[0], attribute(users_own, image, "occlusion", window=8, stride=8))


@pytest.mark.parametrize("method", ["lrp", "hires_cam", "deeplift", "guided_backprop"])
def test_a_hooked_pass_hears_its_own_thread_alone(users_own, image, method: str) -> None:
    """Another thread runs the modules in the midst of a pass that watches them."""
    network, x = users_own.network, users_own.prepare(image)
    alone = METHODS[method].function(network, x, 1, **PARAMETERS.get(method, {}))

    def run_elsewhere(*_: Any) -> None:
        if not busy:
            busy.append(True)
            other = Thread(target=lambda: network.encoder(2 * x))
            other.start()
            other.join(LONG)
            busy.clear()

    busy: list[bool] = []
    handle = network.encoder[1].register_forward_hook(run_elsewhere)
    meanwhile = METHODS[method].function(network, x, 1, **PARAMETERS.get(method, {}))
    handle.remove()
    assert torch.equal(alone.joint, meanwhile.joint)
    assert alone.details == meanwhile.details


def hold(classifier: Classifier) -> tuple[Thread, Event]:
    """Explain in another thread until the event is set."""
    inside, leave = Event(), Event()

    def work() -> None:
        with explaining(classifier.network):
            inside.set()
            leave.wait(LONG)

    thread = Thread(target=work)
    thread.start()
    assert inside.wait(LONG)
    return thread, leave


def test_who_waits_says_so_and_can_be_cancelled(users_own, image) -> None:
    thread, leave = hold(users_own)
    events: list[Any] = []
    with pytest.raises(CancellationError, match="another explanation of the same network"):
        attribute(users_own, image, "lrp", on_event=events.append, cancelled=lambda: True)
    assert events == [Message("waiting: the same network is being explained elsewhere")]
    leave.set()
    thread.join(LONG)
    assert attribute(users_own, image, "lrp").gap < 0.01


def test_a_failed_explanation_lets_the_next_one_in(users_own, image) -> None:
    def fail(event: Any) -> None:
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        attribute(users_own, image, "occlusion", on_event=fail)
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(attribute, users_own, image, "saliency").result(LONG).target


def test_copies_and_other_networks_do_not_wait(users_own, image) -> None:
    thread, leave = hold(users_own)
    twin = copy.deepcopy(users_own.network)
    found = attribute(
        Classifier(twin, users_own.preprocessing, users_own.classes), image, "saliency"
    )
    leave.set()
    thread.join(LONG)
    assert same(found, attribute(users_own, image, "saliency"))


Ask = Callable[[Classifier, Any], Any]
QUESTIONS: dict[str, Ask] = {
    "attribute": lambda classifier, image: attribute(classifier, image, "saliency"),
    "predict": lambda classifier, image: classifier.predict(image),
    "a second training": lambda classifier, _: train(classifier.network),
    "another classifier": lambda classifier, _: Classifier(
        classifier.network, classifier.preprocessing, classifier.classes
    ),
}


def train(network: Any, on_event: Callable[[Any], None] = lambda event: None) -> None:
    generator = torch.Generator().manual_seed(0)
    images = TensorExamples(torch.randn(12, 2, 16, 16, generator=generator), torch.arange(12) % 3)
    options = TrainingOptions(
        epochs=1, batch_size=4, learning_rate=1e-3, optimiser="adam", step_decay=1.0,
        device="cpu", threads=1,
    )  # fmt: skip
    train_network(network, images, None, options, on_event=on_event)


@pytest.mark.parametrize("question", sorted(QUESTIONS))
def test_a_network_in_training_refuses_in_words_and_trains_on_undisturbed(
    classifier, image, question: str
) -> None:
    def trainable() -> Any:
        network = build_network("cam_net", input_channels=2, classes=3, size=16, seed=0)
        made = Classifier(network, classifier.preprocessing, classifier.classes)
        network.requires_grad_(True)
        network.frozen = False
        return made

    asked, left_alone = trainable(), trainable()
    refused: list[str] = []

    def ask(event: Any) -> None:
        if isinstance(event, Advanced):
            with pytest.raises(NetworkBusyError, match="is being trained") as error:
                QUESTIONS[question](asked, image)
            refused.append(str(error.value))

    train(asked.network, ask)
    train(left_alone.network)
    assert len(refused) == 3  # one a batch
    assert "wait until the training has ended" in refused[0]
    for name, value in left_alone.network.state_dict().items():
        assert torch.equal(value, asked.network.state_dict()[name]), name
    assert attribute(asked, image, "saliency").target  # and afterwards it is explained


def test_a_training_waits_for_the_explanation_that_is_under_way(users_own) -> None:
    users_own.network.requires_grad_(True)
    thread, leave = hold(users_own)
    events: list[Any] = []

    def listen(event: Any) -> None:
        events.append(event)
        leave.set()

    train(users_own.network, listen)
    thread.join(LONG)
    assert Message("waiting: the same network is being explained elsewhere") in events
