"""Fuzz one target for a while: `python -m tests.fuzz message --seconds 600`.

With atheris installed the fuzzer is guided by coverage, else inputs are damaged at random. What breaks the promise of
the target is printed, and ends the run with status 1.
"""

from __future__ import annotations

import argparse
import random
import sys
import time

from tests.fuzz.corpus import SEEDS
from tests.fuzz.mutate import mutated


def at_random(name: str, seconds: float, seed: int) -> int:
    from tests.fuzz.targets import TARGETS

    print(f"damaging {name} input at random for {seconds:g} s, seed {seed}")
    dice = random.Random(seed)
    end = time.monotonic() + seconds
    rounds = 0
    while time.monotonic() < end:
        data = mutated(dice.choice(SEEDS[name]), dice)
        try:
            TARGETS[name](data)
        except Exception as error:
            print(f"{type(error).__name__}: {error}\n{data!r}")
            raise
        rounds += 1
    print(f"{rounds} inputs, every promise kept")
    return 0


def guided(name: str, seconds: float) -> int:
    import atheris

    with atheris.instrument_imports(include=["sipsimple"]):
        from tests.fuzz.targets import TARGETS

    def mutator(data: bytes, max_size: int, seed: int) -> bytes:
        dice = random.Random(seed)
        if not data or dice.random() < 0.05:
            data = dice.choice(SEEDS[name])
        if dice.random() < 0.5:
            return bytes(atheris.Mutate(data, max_size))
        return mutated(data, dice)[:max_size]

    arguments = [sys.argv[0], f"-max_total_time={int(seconds)}", "-max_len=8192", "-timeout=10"]
    atheris.Setup(arguments, TARGETS[name], custom_mutator=mutator)
    atheris.Fuzz()
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=SEEDS)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--at-random", action="store_true", help="without atheris, even if it is installed")
    options = parser.parse_args()
    try:
        import atheris  # noqa: F401
    except ImportError:
        options.at_random = True
    if options.at_random:
        return at_random(options.target, options.seconds, options.seed)
    return guided(options.target, options.seconds)


if __name__ == "__main__":
    sys.exit(main())
