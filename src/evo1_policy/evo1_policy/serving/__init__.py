"""A policy behind a socket: the server's protocols, and the client that a node uses. No ROS."""
