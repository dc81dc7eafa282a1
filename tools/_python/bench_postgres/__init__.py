"""Times of a store on PostgreSQL beside other ways to it."""
