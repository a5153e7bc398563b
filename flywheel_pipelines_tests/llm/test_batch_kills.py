"""Batch mode under SIGKILL: no request is in two batches, no answer is lost."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from flywheel_pipelines_tests.llm.batch_desk import desk, requests

N_KILLS, NEW_EACH_TIME = 20, 3
N_REQUESTS = N_KILLS * NEW_EACH_TIME
RUN = """
import sys
from pathlib import Path
from types import SimpleNamespace
from flywheel_pipelines_tests.llm.batch_desk import Desk, requests
from flywheel_pipelines.llm.settings import AskSettings
import openai, httpx2
at = Desk(Path(sys.argv[1]), SimpleNamespace(base_url=sys.argv[2]), AskSettings())
sys.stdout.write("ready\\n"); sys.stdout.flush()
asked = requests(int(sys.argv[3]))
for _ in range(20):
    at.collect(asked)
    if at.submit(asked).is_complete:
        break
"""


@pytest.mark.slow
@pytest.mark.parametrize("max_answers", [None, 11], ids=["in one batch", "expiring"])
def test_kills_neither_lose_nor_double_anything(tmp_path: Path, max_answers: int | None) -> None:
    from flywheel_pipelines.llm.offline.batches import BatchOptions

    draw, n_killed = random.Random(7), 0
    with desk(tmp_path, BatchOptions(max_answers=max_answers)) as at:
        command = [sys.executable, "-c", RUN, str(tmp_path), at.server.base_url]
        for number in range(1, N_KILLS + 1):
            # Each run finds something new to submit, and whatever the killed one left.
            wanted = str(number * NEW_EACH_TIME)
            with subprocess.Popen([*command, wanted], stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
                time.sleep(draw.uniform(0.0, 0.5))
                n_killed += process.poll() is None
                process.kill()
        subprocess.run([*command, str(N_REQUESTS)], check=True, capture_output=True)
        answered: Counter[str] = Counter()
        for batch in at.server.store.batches(None, 100)["data"]:
            if batch["output_file_id"]:
                lines = at.server.store.content(batch["output_file_id"]).decode().splitlines()
                answered.update(json.loads(line)["custom_id"] for line in lines)
        rows = Counter(row["request_key"] for row in at.rows() if row["status"] == "answered")
    keys = {request.key for request in requests(N_REQUESTS)}
    assert n_killed > N_KILLS / 4
    # Answered and paid for once at the provider, recorded once here.
    assert answered == Counter(keys)
    assert rows == Counter(keys)
