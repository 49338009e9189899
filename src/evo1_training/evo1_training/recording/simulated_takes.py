"""Scripted demonstrations in simulated time, recorded by the recorder's own session.

The same episodes as `demonstrate` gives through a running system, without waiting for a clock: the
messages that simulation, demonstrator and relay would publish go straight into a Session whose
clock is the simulation's. Needs no ROS; imports evo1_sim.
"""

import json
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evo1_policy.robot_config import CameraConfig, RobotConfig
from evo1_sim.experts import ExpertError
from evo1_sim.rehearsals import Rehearsal, plan_rehearsal
from evo1_sim.rendering import CameraRenderer
from evo1_sim.world import World
from evo1_training.recording.cdr import (
    IMAGE,
    cdr,
    header,
    joint_state,
    made,
    topic_spec,
    trajectory,
)
from evo1_training.recording.episode import SCRIPTED_OPERATOR
from evo1_training.recording.episode_store import EpisodeStore
from evo1_training.recording.session import Session, SessionInput
from evo1_training.recording.stream_monitor import robot_topics
from evo1_training.recording.take import Ending, TakeResult, TakeState

TICK_NS = 10_000_000  # joint states at 100 Hz
FRAME_TICKS = 100.0 / 30.0  # ticks between two camera frames
LEAD_IN_S = 0.3  # at rest before and after, so that a take shows both
LEAD_OUT_S = 0.4
SETTLE_S = 3.0  # for the task's check to come true afterwards, and to hold as long as it must
WARM_UP_S = 0.2  # of streams before a take: none begins before each of them is alive
TARGET_OFFSETS_S = (1 / 30, 2 / 30, 3 / 30)  # how far each teleop message looks ahead


class SimulatedTakeError(RuntimeError):
    """The recorder does not do its part; the message says what it said."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """How one seed went: why it was not kept, '' where it was; and the recorder's result."""

    seed: int
    detail: str
    take: TakeResult | None = None


class SimulatedTakes:
    """Records takes of one arm into one folder. Use it from one thread.

    Args:
        robot: the robot file.
        world: the scene.
        store: where episodes go.
        width: of the camera images [px].
        height: of the camera images [px].

    Raises:
        RenderingError: no GL backend works here.
        SimulatedTakeError: a camera of the robot file is no raw image.
    """

    def __init__(
        self, robot: RobotConfig, world: World, store: EpisodeStore, *, width: int, height: int
    ) -> None:
        for camera in robot.cameras:
            if camera.type != IMAGE:
                raise SimulatedTakeError(f"camera {camera.name}: {camera.type}, expected {IMAGE}")
        self._robot, self._world = robot, world
        self._renderer = CameraRenderer(world, width=width, height=height)
        self._now_ns = time.time_ns() // TICK_NS * TICK_NS
        self._ticks = 0
        self._frames_due = 0.0
        self._session = Session(robot, store, now_ns=lambda: self._now_ns)
        written = [topic.name for topic in robot_topics(robot, {})]
        self._names = {name: f"/{name.removeprefix('/')}" for name in written}  # no namespace
        self._session.set_inputs(
            [
                SessionInput(topic=topic, spec=topic_spec(topic.name, topic.type))
                for topic in robot_topics(robot, self._names)
            ]
        )

    def close(self) -> None:
        """End the running take and free the GL context."""
        self._session.close()
        self._renderer.close()

    def attempt(self, task: str, seed: int, *, rough: bool = True) -> Attempt:
        """Plan, record and judge one seed; what failed is discarded.

        Raises:
            WorldError: no such task.
            SimulatedTakeError: the recorder refuses, or its disk does.
        """
        try:
            rehearsal = plan_rehearsal(self._world, task, seed, rough=rough)
        except ExpertError as error:
            return Attempt(seed=seed, detail=str(error))
        return self.record(rehearsal)

    def record(self, rehearsal: Rehearsal) -> Attempt:
        """Record and judge a motion from the world's present state; a failed one is discarded.

        Raises:
            SimulatedTakeError: the recorder refuses, or its disk does.
        """
        self._show(rehearsal, -WARM_UP_S, 0.0, targets=False)
        self._begin(rehearsal)
        duration_s = rehearsal.demonstration.duration_s
        self._show(rehearsal, -LEAD_IN_S, duration_s + LEAD_OUT_S)
        detail = self._judge(rehearsal, duration_s + LEAD_OUT_S)
        result = self._end(Ending.DISCARD if detail else Ending.SAVE)
        return Attempt(seed=rehearsal.demonstration.seed, detail=detail, take=result)

    def _show(
        self, rehearsal: Rehearsal, begin_s: float, end_s: float, *, targets: bool = True
    ) -> None:
        """Run the arm along a stretch of the rehearsal and publish everything.

        Args:
            rehearsal: what to run.
            begin_s: since the demonstration's start; the arm rests before and after it.
            end_s: likewise.
            targets: whether the demonstrator speaks.
        """
        times = begin_s + np.arange(1, round((end_s - begin_s) * 100) + 1) / 100
        for time_s, commanded in zip(times, rehearsal.executed(times), strict=True):
            self._now_ns += TICK_NS
            self._world.set_targets(commanded)
            self._world.step(TICK_NS)
            self._publish_joints()
            self._frames_due += 1 / FRAME_TICKS
            if self._frames_due >= 1:
                self._frames_due -= 1
                self._publish_frames()
                if targets:
                    self._publish_targets(rehearsal, float(time_s))

    def _judge(self, rehearsal: Rehearsal, from_s: float) -> str:
        """Wait a little for success; return what is missing."""
        for step in range(round(SETTLE_S / 0.1)):
            status = self._world.task_status()
            if status.success:
                return ""
            begin_s = from_s + 0.1 * step
            self._show(rehearsal, begin_s, begin_s + 0.1)
        return status.detail or "not solved"

    def _begin(self, rehearsal: Rehearsal) -> None:
        scene = json.dumps(rehearsal.scene) if rehearsal.scene else ""
        self._session.start(rehearsal.demonstration.instruction, SCRIPTED_OPERATOR, scene)
        self._session.tick()
        if self._session.take.state is not TakeState.RECORDING:
            raise SimulatedTakeError(f"no take begins: {self._session.take.describe()}")

    def _end(self, ending: Ending) -> TakeResult:
        self._session.end(ending)
        result = self._session.close()
        if result is None or (ending is Ending.SAVE and result.reason):
            raise SimulatedTakeError(result.reason if result else "the take did not end")
        return result

    # -- messages ----------------------------------------------------------------------------

    def _receive(self, topic: str, data: bytes) -> None:
        name, now_ns = self._names[topic], self._now_ns
        self._session.receive(name, data, received_ns=now_ns, publish_ns=now_ns)

    def _publish_joints(self) -> None:
        names, positions = self._robot.joint_names, self._world.joint_positions()
        speeds = self._world.joint_velocities()
        data = joint_state(header(self._now_ns), names, positions, speeds)
        self._receive(self._robot.state.topic, data)

    def _publish_frames(self) -> None:
        self._renderer.capture()
        for camera in self._robot.cameras:
            image = self._renderer.render(camera.name)
            self._receive(camera.topic, _image(self._now_ns, camera, image))

    def _publish_targets(self, rehearsal: Rehearsal, time_s: float) -> None:
        """What the demonstrator asks for, and what the relay makes of it."""
        ahead = time_s + np.array(TARGET_OFFSETS_S)
        asked = rehearsal.demonstration.sample(ahead)
        names = self._robot.joint_names
        self._receive(
            self._robot.teleop_topic,
            trajectory(header(self._now_ns), names, TARGET_OFFSETS_S, asked),
        )
        commanded = rehearsal.executed(ahead[:1])
        for output in self._robot.command:
            columns = [names.index(name) for name in output.joints]
            head, asked = header(self._now_ns), commanded[:, columns]
            data = trajectory(head, output.joints, TARGET_OFFSETS_S[:1], asked)
            self._receive(output.topic, data)


def _image(stamp_ns: int, camera: CameraConfig, image: npt.NDArray[np.uint8]) -> bytes:
    """A raw frame (H, W, 3) uint8 RGB as bytes."""
    height, width, _ = image.shape
    content = made(
        IMAGE,
        header=header(stamp_ns, camera.topic.rpartition("/")[0]),
        height=height,
        width=width,
        encoding="rgb8",
        is_bigendian=0,
        step=3 * width,
        data=np.ascontiguousarray(image).reshape(-1),
    )
    return cdr(IMAGE, content)
