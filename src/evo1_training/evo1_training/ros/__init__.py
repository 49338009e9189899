"""Nodes of this package: only here is ROS imported."""
