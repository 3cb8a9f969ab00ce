"""What a service may ask of a store: one model a command, with its stream and its decision."""
