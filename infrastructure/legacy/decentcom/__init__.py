"""decentcom's SQLite databases and its folder of media, read and never written."""
