"""What the backend keeps in PostgreSQL and Redis, and how it is read and written."""
