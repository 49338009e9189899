"""`python -m evo1_bringup` is the evo1 command."""

import sys

from evo1_bringup.cli import main

sys.exit(main())
