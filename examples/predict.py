"""Reads chest radiographs with a running service: `python examples/predict.py FILE…`.

`CXRSERVE_URL` says where it is (http://localhost:3000). A file to try: `cxrserve phantom out.png`.
Exits with 1 if a file could not be answered.
"""

from __future__ import annotations

import os
import sys

from cxrserve.answer import NOTICE, Answer
from cxrserve.client import Client


def findings_of(answer: Answer) -> str:
    """The findings of all models in one line; `*` marks what is over its threshold."""
    return "  ".join(
        f"{finding.label} {finding.probability:.2f}{'*' if finding.positive else ''}"
        for result in answer.results
        for finding in result.findings
        if finding.probability is not None
    )


def main() -> int:
    """Ask about every file; print each as soon as it is answered."""
    failed = 0
    with Client(os.environ.get("CXRSERVE_URL", "http://localhost:3000")) as client:
        for outcome in client.predict_many(sys.argv[1:], deadline_ms=20_000):
            if outcome.answer is not None:
                print(f"{outcome.name}: {findings_of(outcome.answer)}")
                continue
            assert outcome.error is not None
            failed += 1
            print(f"{outcome.name}: {outcome.error.detail}. {outcome.error.advice}")
    print(NOTICE)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
