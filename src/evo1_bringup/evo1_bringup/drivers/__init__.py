"""Hardware without ROS: protocols, calibration, pacing of commands."""
