"""What `refold bench` measures: each row is refold against a real reference, in the same run."""
