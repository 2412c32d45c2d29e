"""The modules of `release/build` and `release/reproduce`. They share cdk/bundle's library."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

sys.path.insert(0, str(ROOT / "cdk"))
