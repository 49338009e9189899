"""Launch files, robot files and drivers of Evo-1 for ROS 2."""
