"""The demo: run the simulated cell and the policy, watch the topics, report what was seen."""
