"""What a node takes: until it answers, until a deploy has its first record out, while a revision takes over, and until a thousand
pipelines are back after a kill.

    cargo build --release --workspace --bin conveyor && python3 benches/python/node.py ~/.cache/conveyor/target/release/conveyor
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from datetime import datetime
from pathlib import Path

PROGRAM = sys.argv[1]
PIPELINES = 1000
PROJECT = Path(os.environ.get("CONVEYOR_GUESTS", Path.home() / ".cache/conveyor/guests")) / "project.wasm"


class Node:
    """`conveyor up` over one directory, in which it is started as often as it is killed."""

    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}"
        self.listen = f"127.0.0.1:{port}"
        self.env = dict(os.environ, XDG_STATE_HOME=os.path.abspath("state"), XDG_CONFIG_HOME=os.path.abspath("config"))

    def start(self):
        """Seconds until it answers."""
        begun = time.time()
        command = [PROGRAM, "up", "--data", "data", "--listen", self.listen]
        quiet = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.process = subprocess.Popen(command, env=self.env, **quiet)
        while True:
            try:
                urllib.request.urlopen(self.url + "/readyz", timeout=1)
                return time.time() - begun
            except OSError:
                time.sleep(0.002)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def get(self, path):
        return json.load(urllib.request.urlopen(self.url + path))

    def verb(self, *args, **more):
        return subprocess.run([PROGRAM, *args], env=self.env, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)

    def put(self, name, manifest):
        body = json.dumps({"manifest": manifest, "dir": os.getcwd()}).encode()
        head = {"Authorization": "Bearer " + Path("data/token").read_text().strip(), "Content-Type": "application/json"}
        path = f"{self.url}/v1/namespaces/default/pipelines/{name}"
        while True:
            try:
                return urllib.request.urlopen(urllib.request.Request(path, data=body, method="PUT", headers=head))
            except urllib.error.HTTPError as error:
                if error.code != 429:
                    raise
                time.sleep(0.1)

    def running(self):
        return sum(line["state"] == "running" for line in self.get("/v1/pipelines")["pipelines"])

    def wait_for(self, count):
        begun = time.time()
        while self.running() < count:
            time.sleep(0.1)
        return time.time() - begun

    def status(self, key):
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(key)).split()[1])

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def manifest(name, poll, rev=None):
    mark = "" if rev is None else f'  mark: {{ transform: {PROJECT}, from: in, with: {{ set: {{ rev: "{rev}" }} }} }}\n'
    return (
        f"pipeline: {name}\nstages:\n  in: {{ source: file, schema: {{ id: int }}, with: {{ path: {name}.csv, follow: true, poll: {poll} }} }}\n"
        f"{mark}  out: {{ sink: file, from: {'in' if rev is None else 'mark'}, with: {{ path: {name}.jsonl }} }}\ncheckpoint: {{ interval: 10ms }}\n"
    )


def few(node):
    first = node.start()
    node.kill()
    starts = []
    for _ in range(7):
        starts.append(node.start())
        node.kill()
    print(f"up answers: {first * 1000:.0f} ms in an empty directory, {statistics.median(starts) * 1000:.0f} ms after a kill")
    node.start()
    took = []
    for number in range(7):
        name, out = f"p{number}", Path(f"p{number}.jsonl")
        Path(f"{name}.csv").write_text("id\n1\n")
        Path(f"{name}.yaml").write_text(manifest(name, "10ms", 1))
        begun = time.time()
        node.verb("deploy", f"{name}.yaml", "--yes", "--no-wait")
        while not (out.exists() and out.stat().st_size):
            time.sleep(0.002)
        took.append(time.time() - begun)
    print(f"deploy until the first record is out: median {statistics.median(took) * 1000:.0f} ms, most {max(took) * 1000:.0f} ms")
    at = lambda text: datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    gaps = []
    for rev in range(2, 12):
        Path("p0.yaml").write_text(manifest("p0", "10ms", rev))
        node.verb("deploy", "p0.yaml", "--yes")
        since = node.get("/v1/namespaces/default/pipelines/p0/status")["here"]["since"]
        lines = node.verb("events", "--output", "json", stdout=subprocess.PIPE, text=True).stdout.splitlines()
        stops = [event for event in map(json.loads, lines) if event["event"] == "pipeline-stops"]
        gaps.append(at(since) - at(stops[-1]["at"]))
    print(f"from the stop of a revision to the next one running: median {statistics.median(gaps) * 1000:.0f} ms, most {max(gaps) * 1000:.0f} ms")
    node.kill()


def thousand(node):
    node.start()
    for number in range(PIPELINES):
        Path(f"t{number}.csv").write_text("id\n1\n")
        node.put(f"t{number}", manifest(f"t{number}", "1s"))
    node.wait_for(PIPELINES)
    time.sleep(3)
    before = node.cpu_seconds()
    time.sleep(10)
    core = (node.cpu_seconds() - before) * 10
    print(f"{PIPELINES} idle pipelines, each following a file at a poll of 1 s: {node.status('VmRSS') // 1024} MiB, {node.status('Threads')} threads, {core:.0f}% of a core")
    node.kill()
    begun = time.time()
    node.start()
    node.wait_for(PIPELINES)
    print(f"all of them run again {time.time() - begun:.1f} s after SIGKILL")
    node.kill()


for measure, port in [(few, 5477), (thousand, 5478)]:
    with tempfile.TemporaryDirectory() as dir:
        os.chdir(dir)
        measure(Node(port))
        os.chdir("/")
