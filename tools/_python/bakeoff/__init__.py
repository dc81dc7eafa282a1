"""Runs migration scenarios on cwstore and its peers, and looks at the files; see tools/bakeoff."""
