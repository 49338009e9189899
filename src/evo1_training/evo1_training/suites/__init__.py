"""The benchmarks of the paper: Meta-World and LIBERO, by the protocols of its authors."""
