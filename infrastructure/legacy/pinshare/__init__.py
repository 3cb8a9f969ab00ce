"""PinShare's metadata.json: its records, and how they come in and go out."""
