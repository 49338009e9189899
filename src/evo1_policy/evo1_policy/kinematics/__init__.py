"""Where an arm's links and its tool are, and what they would touch. No ROS, no torch."""
