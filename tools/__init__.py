"""The tools: commands without a suffix, their Python in `_python`, their data in `_data`."""
