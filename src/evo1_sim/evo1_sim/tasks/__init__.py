"""Tasks: objects, start states and success criteria."""
