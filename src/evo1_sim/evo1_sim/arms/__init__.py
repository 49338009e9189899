"""MJCF models of the arms, and their kinematics."""
