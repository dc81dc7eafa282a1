"""The Python behind the tools: `tools/x` runs `tools/_x.py`."""
