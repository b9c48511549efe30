# SPDX-License-Identifier: Apache-2.0
"""The stretches of time in which spans began: one of long ago must not widen the others'."""

from typing import Final

import numpy as np

from microdollar_exporter.batch import Integers

__all__ = ["spells"]

_MAX_SPELLS: Final = 16


def spells(times: Integers, gap: int) -> list[tuple[int, int]]:
    """The first and the last moment of each stretch without a gap longer than this.

    Of very many stretches one is made: to ask for each would take longer than to read it all.
    """
    moments = np.sort(times)
    gaps = np.flatnonzero(np.diff(moments) > gap)
    if len(gaps) >= _MAX_SPELLS:
        gaps = gaps[:0]
    firsts = moments[np.concatenate(([0], gaps + 1))]
    lasts = moments[np.concatenate((gaps, [-1]))]
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))
