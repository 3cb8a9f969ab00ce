"""The `refold` command, one module a task."""
