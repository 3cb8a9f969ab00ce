"""Contents by their SHA-256, one module per place where they are kept."""
