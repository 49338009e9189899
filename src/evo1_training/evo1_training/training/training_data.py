"""The datasets of a run, split into episodes to learn from and episodes to measure with.

Must not import ROS or torch.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from evo1_policy.checkpoint_layouts.training_facts import (
    TrainingFacts,
    few_instructions,
    read_training,
)
from evo1_policy.interface import ActionSpace, Interface
from evo1_policy.kinematics.end_effector import EndEffector
from evo1_policy.normalization import FeatureStats, NormStats
from evo1_policy.robot_config import RobotConfig
from evo1_policy.untrusted import MOST_JSON_BYTES, UntrustedError, parse_json, read_text
from evo1_training.datasets.lerobot.contents import SOURCES
from evo1_training.datasets.lerobot.statistics import of_values, with_sound_quantiles
from evo1_training.datasets.reader import OrderConfig, Sample, TrainingSamples
from evo1_training.datasets.reader.columns import read_columns
from evo1_training.datasets.reader.problems import DatasetError
from evo1_training.training.phrasings import Phrasings, chosen
from evo1_training.training.train_config import NormalizationConfig

Place = tuple[int, int, int]  # (dataset, number in its part, epoch)
_Numbers = npt.NDArray[np.float32]
_Rows = npt.NDArray[np.int64]  # numbers of rows of a dataset's tables
_MOST_RELATIVE = 5_000_000  # actions of chunks that statistics are made of
_BLOCK = 4096  # frames whose chunks are looked at together


class EpisodePart:
    """Some episodes of a dataset, or some frames of them, as one run of numbers.

    Args:
        samples: the dataset.
        episodes: by their indices.
        among: (T,) which rows of its tables count; None for all.
        weight: how often a frame of them comes in an epoch; None: as the dataset says.
    """

    def __init__(
        self,
        samples: TrainingSamples,
        episodes: Sequence[int],
        among: npt.NDArray[np.bool_] | None = None,
        weight: float | None = None,
    ) -> None:
        self.samples = samples
        self.episodes = tuple(episodes)
        self.weight = samples.spec.weight if weight is None else weight
        limit = samples.spec.frames_per_episode
        known = samples.folder.episodes
        lengths = [min(e.length, limit or e.length) for e in known]
        starts = np.cumsum([0, *lengths])
        self._rows, self._numbers = (
            np.concatenate([np.arange(0), *spans])
            for spans in (
                [known[k].first_row + np.arange(known[k].length) for k in self.episodes],
                [starts[k] + np.arange(lengths[k]) for k in self.episodes],
            )
        )
        if among is not None:
            seen = [known[k].first_row + np.arange(lengths[k]) for k in self.episodes]
            self._numbers = self._numbers[among[np.concatenate([np.arange(0), *seen])]]
            self._rows = self._rows[among[self._rows]]

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, number: int) -> Sample:
        return self.samples[int(self._numbers[number])]

    def rows(self) -> npt.NDArray[np.int64]:
        """Rows of the dataset's tables that these frames stand in."""
        return self._rows


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """What a run learns from, and what it is measured with.

    Attributes:
        train: one part of each dataset, or several with weights of their own.
        held_out: the other episodes, of the same datasets; empty parts where none are held out.
        interface: what the policy is for.
        robot: likewise; None for a benchmark.
        seed: of the order.
        phrasings: other words for tasks, which training alone sees.
    """

    train: tuple[EpisodePart, ...]
    held_out: tuple[EpisodePart, ...]
    interface: Interface
    robot: RobotConfig | None
    seed: int
    phrasings: Phrasings = field(default_factory=dict)

    @property
    def embodiments(self) -> tuple[str, ...]:
        """Keys of the norm stats that are needed, sorted."""
        return tuple(sorted({part.samples.spec.embodiment for part in self.train}))

    @property
    def end_effector(self) -> EndEffector | None:
        """What the numbers mean, where they are the end effector's; None: joints."""
        return self.train[0].samples.end_effector

    @property
    def instructions(self) -> frozenset[str]:
        """Those of the datasets, and their phrasings."""
        tasks = {text for part in self.train for text in part.samples.folder.tasks.values()}
        return frozenset(tasks.union(*self.phrasings.values()))

    @property
    def facts(self) -> TrainingFacts:
        """Where all of it was recorded, as far as known, and its sentences."""
        roots = [part.samples.folder.info.root for part in self.train]
        places = {read_training(root / "meta" / "evo1").trained_in for root in roots}
        return TrainingFacts(
            trained_in=places.pop() if len(places) == 1 else "unknown",
            instructions=few_instructions(self.instructions),
        )

    @cached_property
    def order(self) -> OrderConfig:
        """In which order the training samples come."""
        return OrderConfig(
            lengths=tuple(len(part) for part in self.train),
            weights=tuple(part.weight for part in self.train),
            seed=self.seed,
        )

    def __getitem__(self, place: Place) -> Sample:
        dataset, number, epoch = place
        sample = self.train[dataset][number]
        if not self.phrasings:
            return sample
        words = chosen(self.phrasings, sample.instruction, self.seed, epoch, dataset, number)
        return replace(sample, instruction=words)

    def __len__(self) -> int:
        """Frames to learn from."""
        return sum(len(part) for part in self.train)

    def describe(self) -> list[str]:
        """One line for each part of the datasets, for people."""
        held = {id(part.samples): len(part.episodes) for part in self.held_out}
        lines = []
        for part in self.train:
            spec = part.samples.spec
            often = f", each {part.weight:g} times an epoch" if part.weight != 1 else ""
            lines.append(
                f"{spec.name}: {len(part.episodes)} episodes ({len(part)} frames{often}) to "
                f"learn from, {held[id(part.samples)]} held out; {spec.path}"
            )
        return lines

    def close(self) -> None:
        """Close all videos."""
        for part in self.train:
            part.samples.close()


def split_datasets(
    datasets: Iterable[TrainingSamples],
    *,
    interface: Interface,
    robot: RobotConfig | None,
    holdout: float,
    seed: int,
) -> TrainingData:
    """Hold out a share of the takes of each dataset, evenly spread over it.

    A take that was cut into several episodes stays together: its pieces are alike. Which ones
    does not depend on the seed: runs with several seeds are measured on the same.

    Raises:
        DatasetError: a dataset has too few takes.
    """
    train, held_out = [], []
    for samples in datasets:
        takes = _takes(samples)
        names = list(dict.fromkeys(takes))
        count = len(names)
        held = max(round(count * holdout), 1) if holdout > 0 else 0
        if held >= count:
            raise DatasetError(
                f"{samples.spec.path}: {count} episode{'s' if count != 1 else ''} are too few to "
                f"hold {held} out for measuring (pieces of one take are one); record more, or "
                "train with data.holdout=0"
            )
        chosen = {names[round((k + 0.5) * count / held - 0.5)] for k in range(held)}
        train.append(EpisodePart(samples, [k for k, t in enumerate(takes) if t not in chosen]))
        held_out.append(EpisodePart(samples, [k for k, t in enumerate(takes) if t in chosen]))
    if not train:
        raise DatasetError("no datasets to learn from; expected at least one")
    return TrainingData(
        train=tuple(train), held_out=tuple(held_out), interface=interface, robot=robot, seed=seed
    )


def _takes(samples: TrainingSamples) -> list[str]:
    """Of which take each episode is a piece, by our converter's list; its own where none says."""
    own = [f"episode {k}" for k in range(len(samples.folder.episodes))]
    path = samples.folder.root / SOURCES
    if not path.is_file():
        return own
    try:
        text = read_text(path, what="list of sources", max_bytes=MOST_JSON_BYTES)
        lines = [parse_json(line, source=str(path)) for line in text.splitlines()]
        names = [str(line["source"]) for line in lines]
        sources = [name.rpartition("#")[0] or name for name in names]
    except (UntrustedError, LookupError, TypeError):
        return own  # somebody's edit of the dataset; check-dataset tells
    return sources if len(sources) == len(own) else own


def compute_stats(
    data: TrainingData,
    rules: NormalizationConfig,
    *,
    action_space: ActionSpace = "joint",
    absolute_joints: tuple[int, ...] = (),
) -> dict[str, NormStats]:
    """Norm stats of each embodiment, over all frames of the episodes to learn from.

    Where actions count from their chunk's state, or joints become the end effector's numbers,
    those of the actions are over all chunks of these frames.
    """
    columns: dict[str, list[tuple[_Numbers, _Numbers]]] = {}
    for part in data.train:
        spec, rows = part.samples.spec, part.rows()
        numbers = read_columns(part.samples.folder, spec.suite.columns)
        states, actions = spec.suite.states(numbers), spec.suite.actions(numbers)
        tool = part.samples.tool_actions
        if tool is not None:
            learnt = _over_chunks(part.samples, rows, tool.chunks)
        elif action_space == "joint_relative":
            origins = states.copy()
            origins[:, list(absolute_joints)] = 0.0
            relative = partial(_relative, actions, origins)
            learnt = _over_chunks(part.samples, rows, relative)
        else:
            learnt = actions[rows]
        columns.setdefault(spec.embodiment, []).append((states[rows], learnt))
    return {
        embodiment: NormStats(
            embodiment=embodiment,
            state=_feature([state for state, _ in pairs]),
            action=_feature([action for _, action in pairs]),
            mode=rules.mode,
            clamp=rules.clamp,
            range_floor=rules.range_floor,
            action_space=action_space,
            end_effector=data.end_effector,
            absolute_joints=absolute_joints,
        )
        for embodiment, pairs in columns.items()
    }


def _relative(actions: _Numbers, origins: _Numbers, rows: _Rows, found: _Rows) -> _Numbers:
    """(n, H, D) of chunks: their actions, less what their frame's row has in `origins`."""
    return np.asarray(actions[found] - origins[rows, None])


def _over_chunks(
    samples: TrainingSamples, rows: _Rows, actions_of: Callable[[_Rows, _Rows], _Numbers]
) -> _Numbers:
    """(m, W): actions of the chunks of all frames; of many, some that are evenly spread.

    The smallest and the largest of every number are among them. `actions_of` makes the actions
    (n, H, W) of the chunks of some rows (n,), from those of their actions (n, H).
    """
    every = max(1, len(rows) * samples.options.horizon // _MOST_RELATIVE)
    kept: list[_Numbers] = []
    for begin in range(0, len(rows), _BLOCK):
        block = rows[begin : begin + _BLOCK]
        found, inside = samples.chunks(block)  # (n, H)
        targets = actions_of(block, found)[inside]  # (m, W)
        ends = np.stack([targets.min(axis=0), targets.max(axis=0)])
        kept += [targets[::every], ends]
    return np.concatenate(kept)


def check_widths(stats: Mapping[str, NormStats], data: TrainingData, *, source: str) -> None:
    """Refuse norm stats that are not of these data.

    Raises:
        DatasetError: an embodiment is missing, or has another width.
    """
    for part in data.train:
        samples = part.samples
        found = stats.get(samples.spec.embodiment)
        if found is None:
            raise DatasetError(
                f"{source}: no norm stats of embodiment '{samples.spec.embodiment}' (there are: "
                f"{', '.join(stats)}); train with --norm-stats compute"
            )
        for what, feature, width in (
            ("state", found.state, samples.state_width),
            ("action", found.action, samples.action_width),
        ):
            if feature.shape != (width,):
                raise DatasetError(
                    f"{source}: {what}: {feature.shape[0]} entries, but {samples.spec.path} has "
                    f"{width}; train with --norm-stats compute"
                )


def _feature(parts: Sequence[npt.NDArray[np.float32]]) -> FeatureStats:
    found = with_sound_quantiles(of_values(np.concatenate(parts)))
    return FeatureStats(
        min=found.min,
        max=found.max,
        mean=found.mean,
        std=found.std,
        q01=found.quantiles["q01"],
        q99=found.quantiles["q99"],
    )
