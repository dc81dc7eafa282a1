"""The apsw engine: the only place that imports apsw."""
