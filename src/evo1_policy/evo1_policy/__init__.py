"""Evo-1 on a robot: observations, model, chunk execution with safety, and the policy node."""
