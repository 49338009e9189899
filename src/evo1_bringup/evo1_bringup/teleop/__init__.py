"""What a person drives an arm with: keyboard, gamepad, leader arm. Pure: no ROS."""
