"""Lets the tests of every folder import the helper modules of this one."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
