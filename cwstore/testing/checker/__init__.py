"""The statement checker."""
