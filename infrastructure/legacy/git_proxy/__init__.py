"""What git-proxy keeps in NeDB files, in MongoDB and in its own PostgreSQL tables."""
