"""How much the fault tests try: a little in `scripts/test`, all of it in `scripts/faults`."""

import os
from typing import Final

LONG: Final = os.environ.get("HYPOTHESIS_PROFILE") == "night"
