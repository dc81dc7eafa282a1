"""The Python behind the tools."""
