"""Checks LeRobot datasets, ours and others': what loaders reject, what training suffers from."""
