"""What must hold for every trajectory that was sent to a controller."""

import numpy as np
from evo1_msgs.msg import PolicyStatus

TOLERANCE = 1e-6


def wait_at_rest(cell):
    """Wait until the arm stands where the last commands end, then check all commands."""
    cell.wait(lambda: cell.now_ns() > end_ns(cell), "the end of the last command")
    check_commands(cell)
    assert last_commands_end_at_rest(cell)


def end_ns(cell):
    """When the last command of any output ends; now where none was sent."""
    ends = [end_of(messages[-1]) for messages in cell.commands.values() if messages]
    return max(ends, default=0)


def end_of(message):
    last = message.points[-1].time_from_start
    stamp = message.header.stamp
    return (stamp.sec + last.sec) * 10**9 + stamp.nanosec + last.nanosec


def last_commands_end_at_rest(cell):
    return all(
        np.allclose(messages[-1].points[-1].velocities, 0.0, atol=TOLERANCE)
        for messages in cell.commands.values()
        if messages
    )


def check_commands(cell):
    """Limits hold at every point, times increase, each output has its own joints."""
    joints = {joint.name: joint for joint in cell.robot.joints}
    for command in cell.robot.command:
        for message in cell.commands[command.topic]:
            assert tuple(message.joint_names) == command.joints
            times = [
                p.time_from_start.sec + p.time_from_start.nanosec * 1e-9 for p in message.points
            ]
            assert times[0] == 0.0
            assert all(np.diff(times) > 0)
            positions = np.array([point.positions for point in message.points])
            velocities = np.array([point.velocities for point in message.points])
            for column, name in enumerate(command.joints):
                limits = joints[name]
                assert positions[:, column].min() >= limits.position_min - TOLERANCE
                assert positions[:, column].max() <= limits.position_max + TOLERANCE
                assert np.abs(velocities[:, column]).max() <= limits.velocity_max + TOLERANCE
                change = np.abs(np.diff(velocities[:, column])) / np.diff(times)
                assert (change <= limits.acceleration_max + TOLERANCE).all()


def running(cell):
    return cell.status is not None and cell.status.state == PolicyStatus.RUNNING
