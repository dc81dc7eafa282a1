"""Bring work in and out."""
