"""JointTrajectory messages as the plain points that evo1_sim.trajectory follows."""

from trajectory_msgs.msg import JointTrajectory

from evo1_policy.perception.messages import stamp_ns
from evo1_sim.trajectory import TrajectoryPoint


def read_points(message: JointTrajectory) -> tuple[TrajectoryPoint, ...]:
    """Return the message's points; the numbers are checked by whoever follows them."""
    return tuple(
        TrajectoryPoint(
            positions=point.positions,
            velocities=point.velocities,
            accelerations=point.accelerations,
            time_from_start_ns=stamp_ns(point.time_from_start),
        )
        for point in message.points
    )
