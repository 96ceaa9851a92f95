"""wrk as the load generator: C, one thread, so that the generator costs little next to the server."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import orjson

from benchmarks.exchange import Exchange
from benchmarks.sample import Load

NAME: Final = "wrk"
CHECKED: Final = "every answer by status and size; values of 32 different requests at once before and after each round"
SCRIPT: Final = Path(__file__).with_name("post.lua")


def find() -> str | None:
    """Return wrk's path, if it is installed."""
    return shutil.which("wrk")


def run(host: str, exchange: Exchange, connections: int, seconds: float, answer_bytes: int) -> Load:
    """Send `exchange` over and over, the next as soon as an answer is there, on each of `connections`.

    `answer_bytes` is the size of an answer, head and body; all must have it.

    Raises:
        RuntimeError: wrk failed.
    """
    with tempfile.NamedTemporaryFile() as body:
        body.write(exchange.body)
        body.flush()
        headers = [part for header in exchange.headers.items() for part in header]
        arguments = ["-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(SCRIPT)]
        done = subprocess.run(
            ["wrk", *arguments, f"http://{host}{exchange.path}", "--", body.name, *headers],
            capture_output=True,
            text=True,
            timeout=seconds + 30,
        )
    found = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
    if done.returncode or not found:
        raise RuntimeError(f"wrk failed ({done.returncode}): {done.stdout}{done.stderr}")
    result = orjson.loads(found[1])
    # wrk stops in the middle of answers: up to one for each connection is read in part, and not counted.
    surplus = result["bytes"] - result["requests"] * answer_bytes
    sizes_differ = not 0 <= surplus <= connections * answer_bytes
    return Load(
        result["requests"],
        result["duration_us"] / 1e6,
        result["p50_us"],
        result["p90_us"],
        result["p99_us"],
        result["not_ok"] + result["broken"] + sizes_differ,
    )
