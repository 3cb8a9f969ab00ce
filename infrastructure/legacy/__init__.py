"""The formats in which other systems keep what they know; each has a folder."""
