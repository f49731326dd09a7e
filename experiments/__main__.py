"""`python -m experiments ID --json FILE|-`: one experiment, in this process, its outcome as JSON.

Exit code 0: it has a verdict, or the machine lacks something; 1: it broke; 2: there is no such one.
What it or its children say goes to stderr; stdout is the JSON's alone.
"""

import argparse
import os
import sys
from pathlib import Path

from experiments import child
from experiments.catalogue import UnknownClaim, choose


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    parser.add_argument("claim", metavar="ID", help="of a claim: K1")
    parser.add_argument("--json", metavar="FILE", default="-", help="the outcome; - is stdout")
    arguments = parser.parse_args()
    try:
        experiments = choose([arguments.claim])
    except UnknownClaim as error:
        parser.error(str(error))
    if len(experiments) > 1:
        parser.error(f"{arguments.claim}: one at a time; `lab experiment` runs several")
    out = os.dup(1)
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
