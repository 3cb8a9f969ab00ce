"""The formats in which PinShare, git-proxy and decentcom keep what they know."""
