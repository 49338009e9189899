"""From chunks to checked commands: execution, safety and the policy loop. No ROS, no torch."""
