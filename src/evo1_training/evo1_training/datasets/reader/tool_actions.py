"""Actions of joints as the end effector's numbers, chunk by chunk, for a policy of the tool.

By the very ToolSpace that turns a policy's answers back. Must not import ROS or torch. Letters: N
rows of a dataset's tables, n chunks, H horizon, D joints, W numbers of an action.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from evo1_policy.interface import ActionSpace
from evo1_policy.kinematics.end_effector import EndEffector, PoseForm
from evo1_policy.kinematics.inverse import ToolSpace
from evo1_policy.kinematics.model import ModelError
from evo1_policy.robot_config import RobotConfig
from evo1_training.datasets.reader.problems import DatasetError

_Numbers = npt.NDArray[np.float32]


def tool_meaning(space: ActionSpace, robot: RobotConfig) -> EndEffector | None:
    """What the actions of a robot's recorded joints become in this space; None: they stay joints.

    Deltas count from the state of the chunk's observation, so that errors do not add up along it;
    they are of less than half a turn. Poses stand in a form that does not jump there.
    """
    grippers = ((0.0, 1.0),) if robot.gripper else ()
    if space == "ee_delta":
        return EndEffector(action=PoseForm(grippers=grippers), reference="start")
    if space == "ee_pose":
        return EndEffector(action=PoseForm(rotation="rotation_6d", grippers=grippers))
    return None


class ToolActions:
    """Where the joints of a dataset put the tool, and the actions that lead there.

    Attributes:
        meaning: of the numbers.
    """

    def __init__(
        self,
        meaning: EndEffector,
        robot: RobotConfig,
        states: _Numbers,
        actions: _Numbers,
        *,
        source: Path,
    ) -> None:
        """Find the tool at every row.

        Args:
            meaning: of the numbers; their state is of joints.
            robot: whose joints; its file names the model.
            states: (N, D) [rad].
            actions: (N, D) joint targets [rad].
            source: the dataset, for error messages.

        Raises:
            DatasetError: the robot has no model, or joints that no tool of one arm knows.
        """
        problem = f"{source}: action_space {meaning.action_space}"
        try:
            space = ToolSpace(meaning, robot)
        except ModelError as error:
            raise DatasetError(f"{problem}: {error}") from error
        if space.idle_joints:
            raise DatasetError(
                f"{problem}: {', '.join(space.idle_joints)} of '{robot.name}' neither move its "
                "tool nor are its gripper, so their actions would be lost; train on joints"
            )
        self.meaning = meaning
        self._starts = space.poses(states)[:2]
        self._targets = space.poses(actions)

    def chunks(self, rows: npt.NDArray[np.int64], found: npt.NDArray[np.int64]) -> _Numbers:
        """The actions (n, H, W) of chunks.

        Args:
            rows: (n,) of the frames that they are for.
            found: (n, H) rows of their actions.
        """
        positions, rotations, closed = self._targets
        here, turned = self._starts
        learnt = [
            self.meaning.numbers(
                positions[places], rotations[places], closed[places], (here[row], turned[row])
            )
            for row, places in zip(rows.tolist(), found, strict=True)
        ]
        return np.stack(learnt).astype(np.float32)
