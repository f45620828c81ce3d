"""What tools/setup.sh installs, held against what it says."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_all_extras_are_installed_for_tests():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = re.search(r"-e '\.\[([a-z,]+)\]' --group dev", (ROOT / "tools" / "setup.sh").read_text())
    assert asked
    found = set(asked[1].split(","))
    if "all" in found:
        found |= set(declared["all"][0].removeprefix("schedtuna[").removesuffix("]").split(","))
    assert found == declared.keys() - {"fleet", "ray"}  # tools/ray.sh: RLlib pins Gymnasium
