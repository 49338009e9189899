"""Replay: the chunks of a recorded bag made again, and compared. Must not import ROS or torch."""

TOLERANCE_RAD = 1e-4  # of equal chunks, on the machine that recorded or one of its kind
