"""In which order training sees the frames: shuffled, sharded, weighted and resumable.

The order is computed, not stored: a permutation of n numbers is a keyed function of one number,
so that a billion frames cost no memory, and any position is reached at once. It consists of whole
numbers only and is therefore the same on every machine. Must not import ROS or torch.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]
_ROUNDS = 6
_BLOCK = 4096  # positions computed at a time


def permute(numbers: npt.ArrayLike, count: int, key: int) -> Numbers:
    """Map each of 0 .. count - 1 to another of them, one to one.

    Args:
        numbers: (M,) whole numbers in 0 .. count - 1.
        count: how many numbers are permuted.
        key: chooses the permutation.

    Returns:
        (M,) int64.
    """
    values = np.atleast_1d(np.asarray(numbers)).astype(np.uint64)
    if values.size == 0 or count <= 1:
        return np.asarray(values, np.int64)
    half = max((int(count - 1).bit_length() + 1) // 2, 1)  # bits of one half
    keys = _mix(np.arange(1, _ROUNDS + 1, dtype=np.uint64) + _mix(_unsigned(key)))
    result = _feistel(values, half, keys)
    outside = np.flatnonzero(result >= count)  # walk the cycle until it is back inside
    while outside.size:
        result[outside] = _feistel(result[outside], half, keys)
        outside = outside[result[outside] >= count]
    return np.asarray(result, np.int64)


def _feistel(values: npt.NDArray[np.uint64], half: int, keys: npt.NDArray[np.uint64]) -> Any:
    mask = np.uint64((1 << half) - 1)
    shift = np.uint64(half)
    left, right = values >> shift, values & mask
    for key in keys:
        left, right = right, left ^ (_mix(right + key) & mask)
    return (left << shift) | right


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of splitmix64: spreads every bit over all; wraps at 64 bits."""
    with np.errstate(over="ignore"):
        mixed = values + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def _unsigned(*numbers: int) -> npt.NDArray[np.uint64]:
    """Fold whole numbers into one key, (1,) uint64."""
    key = np.zeros(1, dtype=np.uint64)
    for number in numbers:
        key = _mix(key + np.array([number % 2**64], dtype=np.uint64))
    return key


@dataclass(frozen=True, kw_only=True)
class OrderConfig:
    """What determines the order.

    Attributes:
        lengths: frames of each dataset.
        weights: how often a frame of each dataset is seen in an epoch: 1 once, 0.5 in every
            second epoch, 3 three times.
        seed: chooses the shuffling.
        shuffle: False keeps the datasets one after the other, in order.
    """

    lengths: tuple[int, ...]
    weights: tuple[float, ...]
    seed: int = 0
    shuffle: bool = True

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

    def at(self, epoch: int, positions: npt.ArrayLike) -> tuple[Numbers, Numbers]:
        """What stands at positions of an epoch.

        Within a dataset every frame is seen once before one is seen again, over epochs too.

        Args:
            epoch: from 0.
            positions: (M,) in 0 .. epoch_length - 1.

        Returns:
            Dataset (M,) and frame in it (M,).
        """
        places = np.atleast_1d(np.asarray(positions, dtype=np.int64))
        if self.shuffle:
            key = int(_unsigned(self.seed, epoch, 1)[0])
            places = permute(places, self.epoch_length, key)
        ends = np.cumsum(self.counts)
        datasets = np.asarray(np.searchsorted(ends, places, side="right"), np.int64)
        frames = places - (ends - np.array(self.counts))[datasets]
        for number in np.unique(datasets):
            chosen = datasets == number
            frames[chosen] = self._visits(int(number), epoch, frames[chosen])
        return datasets, frames

    def _visits(self, number: int, epoch: int, places: Numbers) -> Numbers:
        length, count = self.lengths[number], self.counts[number]
        visits = epoch * count + places  # of this dataset since the beginning
        rounds, frames = visits // length, visits % length
        if not self.shuffle:
            return frames
        for turn in np.unique(rounds):
            chosen = rounds == turn
            key = int(_unsigned(self.seed, number, int(turn), 2)[0])
            frames[chosen] = permute(frames[chosen], length, key)
        return frames


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
        while self._position.seen < end:
            start, epoch = self._position.seen, self._position.epoch
            stop = min(start + _BLOCK * self._ranks, end)
            datasets, frames = self.config.at(
                epoch, np.arange(start + self._rank, stop, self._ranks)
            )
            for number, pair in enumerate(zip(datasets.tolist(), frames.tolist(), strict=True), 1):
                self._position = Position(epoch=epoch, seen=start + number * self._ranks)
                yield pair
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
            "shuffle": config.shuffle,
        }


def weights_for_shares(lengths: Sequence[int], shares: Sequence[float]) -> tuple[float, ...]:
    """Weights that give each dataset its share of an epoch, as many samples as frames together."""
    total = sum(lengths)
    return tuple(
        share / sum(shares) * total / length for length, share in zip(lengths, shares, strict=True)
    )
