"""What is in a store, as a person wants to see it; it reads and never writes."""
