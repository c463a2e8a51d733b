"""What a flow run's engine does, at a hundredth of its cost: says to Prefect that the run started and how it ended.

`python -I told.py END [SECONDS]` as the command of a job; END is a state, or `none` for a run that tells no end.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request


def tell(kind: str) -> None:
    address = f"{os.environ['PREFECT_API_URL']}/flow_runs/{os.environ['PREFECT__FLOW_RUN_ID']}/set_state"
    body = json.dumps({"state": {"type": kind}}).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(100):
        try:
            with opener.open(request, timeout=60) as answer:
                answer.read()
            return
        except urllib.error.HTTPError as error:  # sqlite is locked: Prefect's client asks again too
            if error.code < 500:
                raise
            time.sleep(0.2)
    raise RuntimeError(f"{address}: no answer")


tell("RUNNING")
time.sleep(float(sys.argv[2]) if len(sys.argv) > 2 else 0)
if sys.argv[1] != "none":
    tell(sys.argv[1])
