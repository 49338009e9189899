"""Episodes on disk: written while a person demonstrates, read back, recovered."""
