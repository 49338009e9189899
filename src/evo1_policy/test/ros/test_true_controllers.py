"""The policy node drives ros2_control's own controllers: no seam is felt, whatever happens.

About three minutes. Runs where controller_manager and the controllers are installed (apt:
ros-jazzy-ros2-control, ros-jazzy-ros2-controllers), on mock hardware.
"""

import numpy as np
import pytest
from true_controllers import ARM, ControlledCell, Controllers, Relay, WideWavePolicy

pytestmark = [pytest.mark.ros, pytest.mark.ros2_control]

RUNNING, HOLDING = 1, 2
STEP_RAD = 0.0002  # stamps of a busy machine are a few 0.1 ms off the course
ACCELERATION_RATIO = 2.0
STANDING_ERROR_RAD = 0.03


@pytest.fixture
def controllers(robot, tmp_path, request):
    running = Controllers(robot, tmp_path, **getattr(request, "param", {}))
    yield running
    running.close()


@pytest.fixture
def cell(controllers, robot, capfd):
    cell = ControlledCell(robot, capfd)
    yield cell
    cell.close()


def assert_smooth(cell):
    step, at_s, ratio = cell.worst()
    assert step < STEP_RAD, f"at {at_s:.3f}, which the policy's log below may explain"
    assert ratio < ACCELERATION_RATIO


def pause_and_resume(cell, seconds):
    assert cell.call("pause").success
    cell.run(seconds)
    assert cell.call("resume").success
    cell.wait_moving()


def moved(cell, output=0):
    messages = list(cell.states[cell.robot.command[output].state_topic])
    positions = np.array([message.reference.positions for message in messages])
    return float(np.ptp(positions, axis=0).max())


def test_thirty_seconds_and_a_pause(cell, start_node):
    start_node(WideWavePolicy)
    cell.wait_moving()
    cell.listen_afresh()
    cell.run(30.0)
    pause_and_resume(cell, 2.0)
    cell.run(3.0)
    assert moved(cell) > 0.5
    assert_smooth(cell)


def test_a_controller_that_is_switched_off_and_on_in_motion(cell, controllers, start_node):
    start_node(WideWavePolicy)
    cell.wait_moving()
    cell.listen_afresh()
    for seconds in (0.3, 1.0, 3.0):
        cell.run(2.0)
        controllers.switch(off=[ARM])
        cell.run(seconds)
        controllers.switch(on=[ARM])
        cell.run(2.0)  # whoever went on would be seen now
        if cell.status.state == HOLDING:
            assert cell.call("resume").success
        cell.wait_moving()
    assert moved(cell) > 0.5
    assert_smooth(cell)


def test_commands_that_take_20_ms_longer(cell, robot, start_node, tmp_path):
    slow = tmp_path / "slow.yaml"
    slow.write_text(robot.text.replace(f"{ARM}/", "slow_controller/"))
    relay = Relay(ARM, name="slow_controller", delay_s=0.02)
    try:
        start_node(WideWavePolicy, robot_file=str(slow))
        cell.wait_moving()
        pause_and_resume(cell, 1.0)  # from which it learns how late it is
        cell.listen_afresh()
        for _ in range(4):
            cell.run(2.5)
            pause_and_resume(cell, 0.5)
        cell.run(2.0)
        assert moved(cell) > 0.5
        assert_smooth(cell)
    finally:
        relay.close()


@pytest.mark.parametrize(
    "controllers", [{"standing_error_rad": STANDING_ERROR_RAD}], indirect=True
)
def test_after_a_hold_of_the_controllers_own_motion_begins_where_it_holds(cell, start_node):
    start_node(WideWavePolicy)
    cell.wait_moving()
    cell.listen_afresh()
    cell.run(5.0)
    assert_smooth(cell)
    assert cell.call("pause").success
    cell.run(3.0)  # it comes to rest, waits for its goal_time and gives up with a step
    topic = cell.robot.command[0].state_topic
    reference = np.array([message.reference.positions for message in cell.states[topic]])
    assert np.abs(np.diff(reference[-400:], axis=0)).max() == pytest.approx(
        STANDING_ERROR_RAD, abs=1e-3
    )
    cell.listen_afresh()
    assert cell.call("resume").success
    cell.wait_moving()
    cell.run(5.0)
    assert moved(cell) > 0.3
    assert_smooth(cell)
