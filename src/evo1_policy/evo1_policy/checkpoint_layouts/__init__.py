"""One module for each checkpoint layout. From outside use evo1_policy.checkpoint."""
