"""`python -m evo1_bringup.demo`."""

import sys

from evo1_bringup.demo.run import main

sys.exit(main())
