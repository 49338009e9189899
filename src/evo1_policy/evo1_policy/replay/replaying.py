"""Bag -> observations -> chunks -> comparison. Deterministic: no clock, no threads.

The policy itself comes from outside, by a function that loads it. Must not import ROS or torch.
Letters: H horizon, D joints.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from evo1_policy.action_chunk import Floats
from evo1_policy.control.inference import Policy as Policy
from evo1_policy.observation import Observation
from evo1_policy.replay import TOLERANCE_RAD
from evo1_policy.replay.bag import ReplayError, find_chunk_topic, find_sensors, open_bag
from evo1_policy.replay.observations import RecordedChunk, observations, read_chunks
from evo1_policy.robot_config import RobotConfig, RobotConfigError, load_robot, parse_robot

# Loads the policy of a robot with a seed and a number of denoising steps (0: the checkpoint's).
PolicyLoader = Callable[[RobotConfig, int, int], Policy]


@dataclass(frozen=True, kw_only=True, eq=False)
class Compared:
    """One chunk, made again.

    Attributes:
        recorded: as the bag has it.
        actions: (H, D) [rad], as made again.
        joint_difference_rad: (D,) largest difference of each joint over the actions [rad].
        first: index of the first action that differs by more than the tolerance, and of the joint
            that differs most in it; None where none does.
        state_difference_rad: between the joint state that the bag gives and the recorded one,
            which was used [rad].
    """

    recorded: RecordedChunk
    actions: Floats
    joint_difference_rad: Floats
    first: tuple[int, int] | None
    state_difference_rad: float = 0.0

    @property
    def worst_rad(self) -> float:
        """Largest difference over actions and joints [rad]."""
        return float(self.joint_difference_rad.max())

    @property
    def differs(self) -> bool:
        """Whether it is beyond the tolerance."""
        return self.first is not None


@dataclass(frozen=True, kw_only=True, eq=False)
class NotComparable:
    """One chunk that could not be made again, and why."""

    recorded: RecordedChunk
    reason: str


def compare(
    recorded: RecordedChunk,
    actions: Floats,
    *,
    tolerance_rad: float,
    state_difference_rad: float = 0.0,
) -> Compared:
    """Compare a chunk with its replay; where one is longer, over the actions that both have.

    Args:
        recorded: with actions (H, D) [rad].
        actions: (H', D) [rad], of the replay; NaN differs from everything.
        tolerance_rad: what counts as equal [rad].
        state_difference_rad: goes into the result.
    """
    horizon = min(len(actions), len(recorded.actions))
    difference = np.abs(actions[:horizon] - recorded.actions[:horizon])  # (H, D)
    difference = np.where(np.isfinite(difference), difference, np.inf)
    beyond = np.flatnonzero((difference > tolerance_rad).any(axis=1))
    first = None
    if beyond.size:
        action = int(beyond[0])
        first = action, int(np.argmax(difference[action]))
    return Compared(
        recorded=recorded,
        actions=actions,
        joint_difference_rad=difference.max(axis=0),
        first=first,
        state_difference_rad=state_difference_rad,
    )


@dataclass(frozen=True, kw_only=True)
class Report:
    """What came of it.

    Attributes:
        bag: what was replayed.
        robot: whose it is.
        start_ns: when the bag begins [ns].
        tolerance_rad: what counted as equal [rad].
        model_hash: of the model that replayed.
        device: where that ran.
        results: one a chunk, in order.
    """

    bag: Path
    robot: RobotConfig
    start_ns: int
    tolerance_rad: float
    model_hash: str
    device: str
    results: tuple[Compared | NotComparable, ...]

    @property
    def compared(self) -> tuple[Compared, ...]:
        """The chunks that could be made again."""
        return tuple(one for one in self.results if isinstance(one, Compared))

    @property
    def incomparable(self) -> tuple[NotComparable, ...]:
        """The others."""
        return tuple(one for one in self.results if isinstance(one, NotComparable))

    @property
    def differing(self) -> tuple[Compared, ...]:
        """Those beyond the tolerance."""
        return tuple(one for one in self.compared if one.differs)

    @property
    def is_test(self) -> bool:
        """Whether the recorded model itself was replayed, so that chunks should be equal."""
        return any(one.recorded.model_hash == self.model_hash for one in self.results)

    @property
    def passed(self) -> bool:
        """Whether every chunk that could be made again is equal, and there was one."""
        return bool(self.compared) and not self.differing


def replay(
    path: Path,
    load: PolicyLoader,
    *,
    robot_file: Path | None = None,
    chunk_topic: str = "",
    other_model: bool = False,
    seed: int | None = None,
    tolerance_rad: float = TOLERANCE_RAD,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Report:
    """Make every chunk of a bag again and compare.

    Args:
        path: folder of the bag, or its .mcap or .db3 file.
        load: called at least once, and again where seed or steps change within the bag.
        robot_file: None: the one in the bag.
        chunk_topic: of the chunks; '': the only one.
        other_model: another model than the recorded one is welcome: compare, do not test.
        seed: of the noise instead of the recorded one; None: an error where the chunks tell none.
        tolerance_rad: what counts as equal [rad].
        progress: told how many chunks are done, and of how many.

    Raises:
        ReplayError: the bag lacks something, or was made by another robot or model.
    """
    with open_bag(path) as bag:
        topic = find_chunk_topic(bag, chunk_topic)
        robot_text, roles = bag.notes()
        robot = _robot(path, robot_file, robot_text)
        sensors = find_sensors(bag, robot, topic, roles)
        chunks = read_chunks(bag, topic)
        _check_robot(path, robot, chunks)
        maker = _Maker(path, lambda *settings: load(robot, *settings), seed, chunks)
        if not (maker.same_model or other_model):
            made_by = " and ".join(sorted({chunk.model_hash for chunk in chunks}))
            raise ReplayError(
                f"{path}: its chunks were made by model {made_by}, this one is "
                f"{maker.policy.model_hash}; give the checkpoint of the recording with "
                "--checkpoint, or any other to compare them"
            )
        results: list[Compared | NotComparable] = []
        for chunk, seen in observations(bag.messages(sensors), chunks, robot, sensors):
            results.append(maker.make(chunk, seen, tolerance_rad))
            progress(len(results), len(chunks))
    return Report(
        bag=path,
        robot=robot,
        start_ns=bag.start_ns,
        tolerance_rad=tolerance_rad,
        model_hash=maker.policy.model_hash,
        device=maker.policy.device,
        results=tuple(results),
    )


class _Maker:
    """Makes chunks again with the policy, loaded anew where seed or steps change."""

    def __init__(
        self,
        bag: Path,
        load: Callable[[int, int], Policy],
        seed: int | None,
        chunks: Sequence[RecordedChunk],
    ) -> None:
        self._bag, self._load, self._seed = bag, load, seed
        self._key = self._settings(chunks[0])
        self.policy = load(*self._key)
        self.same_model = any(chunk.model_hash == self.policy.model_hash for chunk in chunks)

    def make(
        self, chunk: RecordedChunk, seen: Observation | str, tolerance_rad: float
    ) -> Compared | NotComparable:
        """Make one chunk again and compare, or say why not."""
        reason = chunk.unknown or (seen if isinstance(seen, str) else "")
        if not reason and self.same_model and chunk.model_hash != self.policy.model_hash:
            reason = f"made by another model, {chunk.model_hash}"
        if reason or isinstance(seen, str):
            return NotComparable(recorded=chunk, reason=reason)
        apart = 0.0
        if chunk.state is not None:  # a joint sample may have come late, or be lost
            apart = float(np.abs(chunk.state - seen.state).max())
            seen = replace(seen, state=chunk.state)
        settings = self._settings(chunk)
        if settings != self._key:
            self._key, self.policy = settings, self._load(*settings)
        actions = self.policy.infer(seen, chunk.guidance).actions
        return compare(chunk, actions, tolerance_rad=tolerance_rad, state_difference_rad=apart)

    def _settings(self, chunk: RecordedChunk) -> tuple[int, int]:
        seed = chunk.seed if self._seed is None else self._seed
        if seed is None:
            raise ReplayError(
                f"{self._bag}: its chunks do not tell the seed of their noise (recorded by an "
                "older version of the node); give it with --seed, 0 is the node's default"
            )
        return seed, chunk.denoising_steps


def _robot(bag: Path, file: Path | None, noted: str) -> RobotConfig:
    try:
        if file is not None:
            return load_robot(file)
        if noted:
            return parse_robot(noted, source=f"{bag}: robot file")
    except RobotConfigError as error:
        raise ReplayError(str(error)) from error
    raise ReplayError(
        f"{bag}: carries no robot file (only this workspace's recorder puts one in); "
        "give it with --robot"
    )


def _check_robot(bag: Path, robot: RobotConfig, chunks: Sequence[RecordedChunk]) -> None:
    for chunk in chunks:
        if chunk.embodiment != robot.embodiment or chunk.joint_names != robot.joint_names:
            raise ReplayError(
                f"{bag}: chunk {chunk.chunk_id} is for '{chunk.embodiment}' with the joints "
                f"{', '.join(chunk.joint_names)}; robot file '{robot.name}' is for "
                f"'{robot.embodiment}' with {', '.join(robot.joint_names)}; give the robot file "
                "of the recording with --robot"
            )
