"""From messages to observations, the same live and offline. No ROS imports, no torch."""
