"""Batches in the run's order, read ahead by other processes, from any position on.

Must not import ROS.
"""

import signal
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader, Dataset

from evo1_training.datasets.reader import Position, SampleOrder
from evo1_training.training.batch import Collator, TrainingBatch
from evo1_training.training.train_config import DataConfig
from evo1_training.training.training_data import Place, TrainingData


class BatchStream:
    """Endless batches of one rank; knows which samples were handed out and how long that took.

    The loader fetches ahead; `state_dict` is about what training has seen.
    """

    def __init__(
        self,
        data: TrainingData,
        collator: Collator,
        config: DataConfig,
        *,
        batch_size: int,
        rank: int = 0,
        ranks: int = 1,
        pin: bool = False,
        state: dict[str, Any] | None = None,
    ) -> None:
        """Start at the beginning, or where `state` was taken.

        Raises:
            ValueError: the state belongs to other data or another seed.
        """
        self._order = SampleOrder(data.order, rank=rank, ranks=ranks)
        if state is not None:
            self._order.load_state_dict(state)
        self._batch_size = batch_size
        self._handed_out = 0  # samples
        self.waited_s = 0.0
        workers = config.workers
        self._loader: DataLoader[TrainingBatch] = DataLoader(
            _Batches(data, collator),
            batch_size=None,
            sampler=_Places(self._order, batch_size),
            num_workers=workers,
            prefetch_factor=config.prefetch if workers else None,
            pin_memory=pin,
            worker_init_fn=_ignore_signals if workers else None,
        )
        self._batches = iter(self._loader)

    def __next__(self) -> TrainingBatch:
        start = time.perf_counter()
        batch: TrainingBatch = next(self._batches)
        if self._handed_out:  # the first batch waits for its readers to start
            self.waited_s += time.perf_counter() - start
        self._handed_out += self._batch_size
        return batch

    @property
    def position(self) -> Position:
        """Behind the last batch that was handed out."""
        return self._order.after(self._handed_out)

    def state_dict(self) -> dict[str, Any]:
        """Where to go on, as plain JSON data."""
        return self._order.state_dict(self.position)

    def close(self) -> None:
        """End the reading processes."""
        del self._batches


class _Places:
    """The order's places in lists of one batch each."""

    def __init__(self, order: SampleOrder, batch_size: int) -> None:
        self._order, self._batch_size = order, batch_size

    def __iter__(self) -> Iterator[list[Place]]:
        # The order tells the epoch of what it has just given.
        places = ((*place, self._order.position.epoch) for place in self._order)
        while True:
            yield list(islice(places, self._batch_size))


class _Batches(Dataset[TrainingBatch]):
    """Reads and collates the places of a batch."""

    def __init__(self, data: TrainingData, collator: Collator) -> None:
        self._data, self._collator = data, collator

    def __getitem__(self, places: list[Place]) -> TrainingBatch:
        return self._collator([self._data[place] for place in places])


def _ignore_signals(worker: int) -> None:
    """Ctrl-C and SIGTERM go to the whole group; the training process decides when this ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
