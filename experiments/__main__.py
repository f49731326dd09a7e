"""`python -m experiments ID --json FILE|-`: run one experiment in this process; outcome as JSON.

Exit code 0: it reached a verdict, or this machine lacks something it needs; 1: it crashed; 2: no
such experiment. What the experiment and its children print goes to stderr; stdout has only JSON.
"""

import argparse
import os
import sys
from pathlib import Path

from experiments import child
from experiments.catalogue import UnknownClaim, choose


def main() -> int:
    """Run the experiment and write its outcome."""
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    parser.add_argument("claim", metavar="ID", help="a claim, such as K1")
    parser.add_argument("--json", metavar="FILE", default="-", help="output file; - is stdout")
    arguments = parser.parse_args()
    try:
        experiments = choose([arguments.claim])
    except UnknownClaim as error:
        parser.error(str(error))
    if len(experiments) > 1:
        parser.error(f"{arguments.claim}: give one experiment only; `lab experiment` runs several")
    out = os.dup(1)  # keep stdout for the JSON; what the experiment prints goes to stderr
    os.dup2(2, 1)
    outcome = child.run(experiments[0])
    text = outcome.to_json() + "\n"
    if arguments.json == "-":
        with os.fdopen(out, "w", encoding="utf-8") as stdout:
            stdout.write(text)
    else:
        Path(arguments.json).write_text(text, encoding="utf-8")
    return int(outcome.failed)


if __name__ == "__main__":
    sys.exit(main())
