"""Replay: the chunks of a recorded bag made again, and compared. Must not import ROS or torch."""
