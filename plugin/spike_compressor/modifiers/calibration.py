"""The modality of every token of the calibration data, in step with whatever pipeline reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from spike_compressor.errors import InputError
from spike_compressor.modality import MODALITIES, ModalityAdapter, TokenRows


class CalibrationRows:
    """Token rows of each calibration batch, recorded while a pipeline iterates over the data loader.

    Pipelines iterate anew for every modifier, and a shuffling loader gives another order each time. So the rows are
    taken from the very iteration that feeds the pipeline: the loader's class is replaced by one that watches.

    Raises (from within the iteration):
        InputError: a multimodal model and not one vision token in the whole data, unless `allow_text_only`; batches
            without `input_ids`.
    """

    def __init__(self, dataloader: Any, adapter: ModalityAdapter, allow_text_only: bool) -> None:
        self.adapter, self.allow_text_only = adapter, allow_text_only
        self.batches: list[TokenRows] = []
        self.samples = 0
        self.tokens: dict[str, int] = dict.fromkeys(MODALITIES, 0)
        # a run that failed before it could release the loader has left its class on it
        self._loader, self._class = dataloader, getattr(dataloader, "_unwatched_class", type(dataloader))
        rows, unwatched = self, self._class

        class Watched(unwatched):  # type: ignore[misc, valid-type]
            _unwatched_class = unwatched

            def __iter__(self) -> Iterator[Any]:
                rows._restart()
                for batch in super().__iter__():
                    rows._add(batch)
                    yield batch
                rows._finish()

        dataloader.__class__ = Watched

    def release(self) -> None:
        """Stop watching."""
        self._loader.__class__ = self._class

    def _restart(self) -> None:
        self.batches.clear()

    def _add(self, batch: Any) -> None:
        ids = batch.get("input_ids") if isinstance(batch, Mapping) else None
        if ids is None:
            raise InputError("calibration batches must be mappings with `input_ids`: modalities are told by token ids")
        self.batches.append(self.adapter.token_rows(ids, batch.get("attention_mask")))

    def _finish(self) -> None:
        counts = [rows.counts() for rows in self.batches]
        self.tokens = {name: sum(count[name] for count in counts) for name in MODALITIES}
        self.samples = sum(rows.modality.shape[0] for rows in self.batches)
        if self.adapter.multimodal and not self.tokens["vision"] and not self.allow_text_only:
            raise InputError(
                f"the calibration data holds {self.tokens['text']} text tokens and not one vision token, but the model "
                f"is multimodal (placeholder ids {list(self.adapter.ids)}). Calibrate with images, or set "
                "`allow_text_only: true` in MSTSModifier or TCLIFModifier."
            )
