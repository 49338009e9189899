"""How good a policy is: in simulation, under disturbances, and what its backbone still sees."""
