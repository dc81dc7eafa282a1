"""The migration runner, neutral of the engine."""
