"""LeRobot datasets, v2.1 and v3.0, written without lerobot. Must not import ROS or torch."""
