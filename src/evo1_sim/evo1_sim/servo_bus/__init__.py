"""The servo bus of an SO-100: registers, calibration, and all of it emulated to the byte."""
