"""Some prompts of the calibration data in place of all: which batches are run, and what their counts say of all."""

from __future__ import annotations

import contextlib
from typing import Any

from spike_compressor.modality import TokenRows
from spike_compressor.modifiers.distributed import ranks


class Prompts:
    """Chooses batches, spread evenly over a data loader, that hold about so many prompts.

    A batch that brings a modality before any chosen one did is chosen too. A loader that does not know its length is
    run whole.

    Args:
        loader: of the calibration data, this rank's.
        samples: prompts to run, over all ranks; all if None.
        tokens: fewer prompts than that where they hold so many tokens, padding left out, going by the first batch.

    Attributes:
        samples: prompts of the batches that were chosen, on this rank.
    """

    def __init__(self, loader: Any, samples: int | None, tokens: int | None = None) -> None:
        self._batches = 0
        with contextlib.suppress(TypeError):  # a stream does not know how many batches it has
            self._batches = 0 if samples is None else len(loader)
        self._wanted, self._enough = -(-(samples or 0) // ranks()), tokens
        self._quota = 0
        self._place = self._seen = 0
        self._tokens: dict[str, int] = {}
        self._chosen: dict[str, int] = {}
        self.samples = 0

    def takes(self, rows: TokenRows) -> bool:
        """Whether the next batch, of these rows, is run. Asked once of every batch, in the order of the loader."""
        prompts, counts = rows.modality.shape[0], rows.counts()
        if not self._place:  # batches are of one size, but for the last
            if self._enough is not None:
                each = max(sum(counts.values()) // max(prompts, 1), 1)
                self._wanted = min(self._wanted, -(-self._enough // (each * ranks())))
            self._quota = -(-self._wanted // max(prompts, 1))
        self._place += 1
        self._seen += prompts
        for modality, count in counts.items():
            self._tokens[modality] = self._tokens.get(modality, 0) + count
        if not self._has_come() and all(self._chosen.get(modality) for modality, count in counts.items() if count):
            return False
        self.samples += prompts
        for modality, count in counts.items():
            self._chosen[modality] = self._chosen.get(modality, 0) + count
        return True

    def _has_come(self) -> bool:
        """Whether the batch at this place, from 1, is one of those that are spread over all."""
        if not self._batches or self._quota >= self._batches:
            return True
        place, quota, double = self._place, self._quota, 2 * self._batches
        return (2 * place * quota + self._batches) // double > (2 * (place - 1) * quota + self._batches) // double

    def of_all(self, modality: str, count: int) -> int:
        """How many rows all batches have where those that were chosen have `count`.

        Exact where a token stands for as many rows everywhere, as in every layer that sees all tokens. A modality that
        is no token's is counted by prompts.
        """
        chosen, whole = self._chosen.get(modality), self._tokens.get(modality, 0)
        if not chosen:
            chosen, whole = self.samples, self._seen
        return (2 * count * whole + chosen) // (2 * chosen) if chosen else count
