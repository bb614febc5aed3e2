import torch

from napari_why.transport.back_translation import train_on_pairs


def test_a_simple_change_is_learnt_from_pairs() -> None:
    images = torch.randn(60, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    changes = images.clone()
    changes[:, 0], changes[:, 1] = 0, -images[:, 1].relu()
    network = train_on_pairs(images, changes, epochs=30)
    unseen = torch.randn(10, 2, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = network(unseen)
    wanted = -unseen[:, 1].relu()
    # over ten seeds, 0.23 to 0.53 and 0.06 to 0.12 of what is wanted
    assert (found[:, 1] - wanted).norm() < 0.8 * wanted.norm()
    assert found[:, 0].norm() < 0.4 * wanted.norm()


def test_the_seed_makes_the_same_network_and_cancelling_ends_it() -> None:
    images = torch.randn(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    first, again = (train_on_pairs(images, images, epochs=1, seed=3) for _ in range(2))
    assert torch.equal(first.last.weight, again.last.weight)
    events: list[object] = []
    train_on_pairs(
        images, images, epochs=50, on_event=events.append, cancelled=lambda: len(events) > 2
    )
    assert len(events) < 10
    assert events[-1].partial
