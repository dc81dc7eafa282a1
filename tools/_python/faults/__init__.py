"""Faults made on purpose, and whether anything was lost: `tools/faults --help`."""
