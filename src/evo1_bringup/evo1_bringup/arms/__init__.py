"""Families of real arms: each module here has a DRIVER, found by the robot file's key `driver`."""
