"""A failing test is run again, to see what is to be blamed."""
