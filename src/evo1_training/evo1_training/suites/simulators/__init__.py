"""What runs in the suites' own environment; must import nothing of ours beside this folder."""
