"""ROS 2 nodes: they convert messages and own timers, nothing else."""
