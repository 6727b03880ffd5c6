import sys
from pathlib import Path

# the maker of sweeps is shared with tests/test_tracking.py, and tests are no package
sys.path.insert(0, str(Path(__file__).parent))
