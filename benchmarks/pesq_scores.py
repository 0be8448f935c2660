"""Score speech with PESQ (ITU-T P.862, narrow band): pairs of raw files come as lines, scores go out as lines.

Run by `quality.py` in an environment of its own, which has the package `pesq`.
"""

import sys

import numpy as np
from pesq import NoUtterancesError, pesq

RATE = 8000
NOTHING = 1.0
"""The score of a recording in which no speech is found."""

for line in sys.stdin:
    said, heard = (np.fromfile(path, np.int16) for path in line.split())
    try:
        print(float(pesq(RATE, said, heard, "nb")), flush=True)
    except NoUtterancesError:
        print(NOTHING, flush=True)
