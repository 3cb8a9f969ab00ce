"""The stores of the three systems, on top of a refold store: same results, same errors by name."""
