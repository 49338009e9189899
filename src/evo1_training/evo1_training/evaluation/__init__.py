"""Whether a policy does the task: trials in simulation, disturbed ones, intervals, reports."""
