"""Lets tests of this folder import serving_kit, and the models of the neighbours."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "checkpoint_layouts")]
