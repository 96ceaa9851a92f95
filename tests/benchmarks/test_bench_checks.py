"""The benchmark's own eyes: a wrong answer must be seen."""

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]

WRONG_SERVER = """
import http.server, json, sys

class Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *arguments): pass
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        zeros = {"shape": [1, 16], "datatype": "INT32", "data": [0] * 16}
        body = json.dumps({"outputs": [{"name": name, **zeros} for name in ("OUTPUT0", "OUTPUT1")]}).encode()
        self.answer(body)
    def do_GET(self):
        counts = {"inference_stats": {"success": {"count": "0"}}, "inference_count": "0", "execution_count": "1"}
        self.answer(json.dumps({"model_stats": [counts]}).encode())
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Server).serve_forever()
"""


@pytest.mark.slow
def test_a_server_that_answers_wrongly_is_found_out(tmp_path: Path) -> None:
    script = tmp_path / "wrong.py"
    script.write_text(WRONG_SERVER)
    options = ["--quick", "--no-micro", "--only", "JSON", "--peer", f"wrong={sys.executable} {script} {{port}}"]

    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *options, "--output", str(tmp_path / "result.json")],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=110,
    )

    assert done.returncode == 1
    assert "answers were wrong" in done.stderr
    rows = {line.split("|")[3].strip(): line for line in done.stdout.splitlines() if line.startswith("| simple")}
    assert "WRONG" in rows["wrong"]
    assert "WRONG" not in rows["jubako"]
