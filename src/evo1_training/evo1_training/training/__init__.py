"""Two-stage training: from datasets to checkpoints that the policy loads. Must not import ROS."""
