"""Move work: export and import an initiative, load a backlog."""
