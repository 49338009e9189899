"""From recorded episodes to LeRobot datasets, and from those to training samples."""
