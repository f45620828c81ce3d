"""Keep what a study is asked to do in a file: YAML, JSON or TOML.

python examples/config_file_usage.py [CONFIG.yaml]
"""

import sys
from pathlib import Path

from schedtuna import RLSchedulerOptimizer


def main(path: Path) -> None:
    """Run the study that a file describes."""
    optimizer = RLSchedulerOptimizer(path)
    print("tuning", optimizer.config.scheduler_name, "with", optimizer.config.algorithm)
    result = optimizer.train()
    print(result["summary"]["verdict"], result["summary"]["effect"])
    if result["verdict"] == "improved":
        print("use it: schedtuna apply", result["experiment_path"], "-- COMMAND")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).with_name("config.yaml"))
