"""Recording, datasets, two-stage training and evaluation of Evo-1.

What is learnt from demonstrations lives here; it installs with pip and must import ROS only in
`ros/`. Its parts build on evo1_policy, so that training sees what the robot sees.
"""
