"""The servo bus of an SO-100, emulated to the byte: servos, bus, pseudo-terminal."""
