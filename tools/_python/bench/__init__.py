"""Benchmarks: cwstore beside what a user would pick instead, on one schema."""
