"""Wrong numbers: off by one, doubled, a bit flipped, out of range."""

from random import Random


def wrong_number(random: Random, value: int, bits: int, others: tuple[int, ...] = ()) -> int:
    """Return another number of ``bits`` bits than ``value``.

    Parameters
    ----------
    random : Random
        Where choices come from.
    value : int
        The right number.
    bits : int
        Width of its field.
    others : tuple of int
        Numbers that mean something elsewhere in the file, as the address of another structure.
    """
    largest = 2**bits - 1
    choices = [
        0, 1, value + 1, value - 1, value + 2, 2 * value, value // 2, value // 2 + 1, value * 10,
        largest, largest // 2, largest // 2 + 1, value ^ (1 << random.randrange(bits)),
        random.randrange(2**bits), *others,
    ]  # fmt: skip
    fitting = [number for number in choices if 0 <= number <= largest and number != value]
    return random.choice(fitting)


def flipped(random: Random, data: bytes, start: int, stop: int, most: int = 3) -> bytes:
    """Flip one to ``most`` bits between two places of some bytes."""
    changed = bytearray(data)
    places = random.sample(range(8 * start, 8 * stop), min(random.randint(1, most), stop - start))
    for place in places:
        changed[place // 8] ^= 1 << place % 8
    return bytes(changed)
