"""The operator's page: a server over the functions that the terminal uses. It owns no truth."""

PORT = 8321
