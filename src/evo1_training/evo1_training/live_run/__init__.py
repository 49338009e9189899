"""One run of a live system: what was heard of it, in numbers, and whether it was good."""
