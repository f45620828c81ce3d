"""How long a study is where nobody says otherwise: the plan, the command line and the Python API agree."""

BUDGET = 100
BASELINE_RUNS = 3
SAVE_FREQUENCY = 25
