"""Where the tests find things."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ABID = ROOT.parent / "shared" / "data" / "abid"  # real photographs, where this machine has them
