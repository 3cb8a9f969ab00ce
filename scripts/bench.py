"""`refold bench`: speed as ratios to references measured in the same run."""


def bench() -> None:
    """Measure."""
