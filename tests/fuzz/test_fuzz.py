"""A short run of every fuzz target; `python -m tests.fuzz TARGET --seconds N` runs one for longer."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.corpus import SEEDS
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import TARGETS

ROUNDS = 3000


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_input_is_a_value_or_the_documented_exception(name: str):
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    for _ in range(ROUNDS):
        data = mutated(dice.choice(SEEDS[name]), dice)
        try:
            TARGETS[name](data)
        except Exception as error:
            raise AssertionError(f"{name} broke its promise over {data!r}") from error


@pytest.mark.parametrize("name", TARGETS)
def test_well_formed_input_is_fine(name: str):
    for seed in SEEDS[name]:
        TARGETS[name](seed)
