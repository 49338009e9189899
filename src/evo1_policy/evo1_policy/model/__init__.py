"""The Evo-1 network. No ROS."""
