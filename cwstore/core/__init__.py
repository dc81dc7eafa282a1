"""What entities, services and engines share: no driver, no table."""
