"""What makes the policies that ship with the workspace. No ROS."""
