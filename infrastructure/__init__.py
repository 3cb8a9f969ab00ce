"""How it is kept: codec, logs, query tables, copying, legacy readers, configuration."""
