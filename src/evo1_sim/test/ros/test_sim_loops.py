"""Physics and rendering side by side, with the real arm and renderer; frames go into a list."""

import threading
import time

import pytest

from evo1_policy.robot_config import load_robot
from evo1_sim.rendering import CameraRenderer
from evo1_sim.simulated_robot import SimulatedRobot
from evo1_sim.world import World

pytestmark = [pytest.mark.ros, pytest.mark.gl]

SECONDS = 2.0


class LateRobot(SimulatedRobot):
    """Between a tick and the news of it others get to run, as on a busy machine."""

    def tick(self, stamp_ns, duration_ns):
        reading = super().tick(stamp_ns, duration_ns)
        time.sleep(0.02)
        return reading


class Frames:
    """A camera that keeps the stamps of its frames."""

    plugged_in = True

    def __init__(self, name):
        self.name = name
        self.stamps = []

    def publish(self, image, stamp_ns):
        self.stamps.append(stamp_ns)


def test_no_instant_is_rendered_twice(robots_dir):
    from evo1_sim.ros.run_meter import RunMeter
    from evo1_sim.ros.sim_loops import SimLoops

    robot = load_robot(robots_dir / "xarm6.yaml")
    world = World("xarm6", seed=3)
    frames = [Frames(camera.name) for camera in robot.cameras]
    loops = SimLoops(
        simulated=LateRobot(world, robot, start_ns=0),
        make_renderer=lambda: CameraRenderer(world, height=48, width=64),
        cameras=frames,
        publish_reading=lambda _: None,
        camera_rate_hz=100.0,
        simulation_time=True,
        meter=RunMeter(camera_rate_hz=100.0, now_ns=time.monotonic_ns()),
        stop=threading.Event(),
    )
    loops.start()
    time.sleep(SECONDS)
    assert loops.close() == []
    for camera in frames:
        assert len(camera.stamps) > 5
        assert camera.stamps == sorted(set(camera.stamps))
