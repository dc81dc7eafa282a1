"""The demo: worker processes carry out a plan."""
