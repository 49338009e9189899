"""In which order training sees the frames: shuffled, sharded, weighted and resumable.

An epoch is a permutation that its seed and number give again at any time, on every machine: it is
made of the raw numbers of PCG64 and a stable sort, which numpy never changes, not of its own
`permutation`, which it may. Must not import ROS or torch.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]


def permutation(count: int, *key: int) -> Numbers:
    """0 .. count - 1 in an order (count,) that whole numbers choose, the same for ever."""
    seeds = [number % 2**64 for number in key]
    raw = np.random.PCG64(np.random.SeedSequence(seeds)).random_raw(count)
    return np.asarray(np.argsort(raw, kind="stable"), np.int64)


@dataclass(frozen=True, kw_only=True)
class OrderConfig:
    """What determines the order.

    Attributes:
        lengths: frames of each dataset.
        weights: how often a frame of each dataset is seen in an epoch: 1 once, 0.5 in every
            second epoch, 3 three times.
        seed: chooses the shuffling.
    """

    lengths: tuple[int, ...]
    weights: tuple[float, ...]
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.lengths) != len(self.weights) or not self.lengths:
            raise ValueError(
                f"expected one weight a dataset, got {len(self.weights)} for {len(self.lengths)}"
            )
        for number, (length, weight) in enumerate(zip(self.lengths, self.weights, strict=True)):
            if length < 1 or not 0 < weight < float("inf"):
                raise ValueError(
                    f"dataset {number}: expected at least one frame and a weight above 0, got "
                    f"{length} frames and weight {weight}"
                )

    @property
    def counts(self) -> tuple[int, ...]:
        """Samples of each dataset in an epoch; at least one."""
        pairs = zip(self.lengths, self.weights, strict=True)
        return tuple(max(round(length * weight), 1) for length, weight in pairs)

    @property
    def epoch_length(self) -> int:
        """Samples of an epoch, over all ranks."""
        return sum(self.counts)

    def epoch(self, number: int) -> tuple[Numbers, Numbers]:
        """What an epoch sees.

        Within a dataset every frame is seen once before one is seen again, over epochs too.

        Args:
            number: of the epoch, from 0.

        Returns:
            Dataset (epoch_length,) and frame in it (epoch_length,), in order.
        """
        places = range(len(self.lengths))
        datasets = np.repeat(np.arange(len(self.lengths), dtype=np.int64), self.counts)
        frames = np.concatenate([self._visits(place, number) for place in places])
        order = permutation(self.epoch_length, self.seed, 1, number)
        return datasets[order], frames[order]

    def _visits(self, dataset: int, epoch: int) -> Numbers:
        """The frames of one dataset in an epoch (count,), out of its rounds over all of them."""
        length, count = self.lengths[dataset], self.counts[dataset]
        first = epoch * count  # of its visits since the beginning
        rounds = range(first // length, (first + count - 1) // length + 1)
        visits = np.concatenate([self._round(dataset, number) for number in rounds])
        begin = first - rounds.start * length
        return visits[begin : begin + count]

    def _round(self, dataset: int, number: int) -> Numbers:
        length = self.lengths[dataset]
        return permutation(length, self.seed, 2, dataset, number)


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where training stands: `seen` samples of this epoch over all ranks."""

    epoch: int = 0
    seen: int = 0


class SampleOrder:
    """Endless (dataset, frame) pairs for one rank, from any position on.

    All ranks get equally many samples an epoch; what does not divide is left out at its end, a
    different remainder in each epoch. Workers of a rank can be sharded the same way: rank *
    workers + worker of ranks * workers.
    """

    def __init__(
        self,
        config: OrderConfig,
        *,
        rank: int = 0,
        ranks: int = 1,
        position: Position | None = None,
    ) -> None:
        if not 0 <= rank < ranks:
            raise ValueError(f"expected a rank in 0 .. {ranks - 1}, got {rank}")
        if config.epoch_length < ranks:
            raise ValueError(f"{config.epoch_length} samples an epoch cannot feed {ranks} ranks")
        self.config = config
        self._rank, self._ranks = rank, ranks
        self._start = self._position = position or Position()

    def __len__(self) -> int:
        """Samples of an epoch for this rank."""
        return self.config.epoch_length // self._ranks

    @property
    def position(self) -> Position:
        """After the samples that were handed out so far."""
        return self._position

    def epoch(self) -> Iterator[tuple[int, int]]:
        """The rest of this epoch; after it, position is at the beginning of the next one."""
        left = self.config.epoch_length - self._position.seen  # ranks may have changed since
        end = self._position.seen + left // self._ranks * self._ranks
        epoch, start = self._position.epoch, self._position.seen
        datasets, frames = self.config.epoch(epoch)
        for seen in range(start, end, self._ranks):
            place = seen + self._rank
            self._position = Position(epoch=epoch, seen=seen + self._ranks)
            yield int(datasets[place]), int(frames[place])
        self._position = Position(epoch=self._position.epoch + 1)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        while True:
            yield from self.epoch()

    def after(self, samples: int) -> Position:
        """The position after some samples of this rank, counted from where this order started.

        Loaders fetch ahead, so that `position` is ahead of what training has seen.
        """
        first = (self.config.epoch_length - self._start.seen) // self._ranks
        if samples < first:
            seen = self._start.seen + samples * self._ranks
            return Position(epoch=self._start.epoch, seen=seen)
        epochs, rest = divmod(samples - first, len(self))
        return Position(epoch=self._start.epoch + 1 + epochs, seen=rest * self._ranks)

    def state_dict(self, position: Position | None = None) -> dict[str, Any]:
        """A position (by default the present one) and what it belongs to, as plain JSON data."""
        place = position or self._position
        return {**self._identity(), "epoch": place.epoch, "seen": place.seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on exactly where state_dict was taken; the number of ranks may differ.

        Raises:
            ValueError: the state belongs to other datasets, weights or another seed; names it.
        """
        for key, ours in self._identity().items():
            if key not in state or state[key] != ours:
                raise ValueError(
                    f"the saved position belongs to {key} = {state.get(key)!r}, here it is "
                    f"{ours!r}; resume with the same, or start anew"
                )
        self._start = Position(epoch=int(state["epoch"]), seen=int(state["seen"]))
        self._position = self._start

    def _identity(self) -> dict[str, Any]:
        config = self.config
        return {
            "lengths": list(config.lengths),
            "weights": list(config.weights),
            "seed": config.seed,
        }
