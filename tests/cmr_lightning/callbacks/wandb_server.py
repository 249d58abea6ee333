"""A stand-in for W&B's server on the loopback address, which keeps what it is sent and answers what is asked."""

import gzip
import json
import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY, PROJECT, SWEEP = "tester", "cmr_lightning", "sweep1"


class WandbServer:
    """Answers the GraphQL operations and the file stream that `wandb sweep`, `wandb agent` and a run use."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}  # by id, the variables of all `UpsertBucket`, the later instead
        self.history: dict[str, list[dict[str, Any]]] = defaultdict(list)  # by run id
        self.summary: dict[str, dict[str, Any]] = {}  # the last one by run id
        self.files: dict[str, bytes] = {}
        self.operations: list[str] = []
        self.commands: list[list[dict[str, Any]]] = []  # for agents, a list for each heartbeat
        self.sweep: dict[str, Any] = {}
        self.url = ""

    def graphql(self, operation: str, given: dict[str, Any]) -> dict[str, Any]:
        """The part `data` of the answer."""
        self.operations.append(operation)
        return getattr(self, f"on_{operation}", lambda given: {})(given)

    def on_Viewer(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        viewer = {"id": "1", "entity": ENTITY, "username": ENTITY, "email": "", "flags": "{}"}
        return {"viewer": {**viewer, "teams": {"edges": []}}}

    def on_UpsertBucket(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        inserted = given["name"] not in self.runs
        known = self.runs.setdefault(given["name"], {})
        known.update({key: value for key, value in given.items() if value is not None})
        return {"upsertBucket": {"bucket": self._bucket(given["name"]), "inserted": inserted}}

    def on_RunResumeStatus(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        known = given["name"] in self.runs
        return {"model": {**_project(PROJECT), "bucket": self._bucket(given["name"]) if known else None}}

    def _bucket(self, name: str) -> dict[str, Any]:
        """What is known of a run, whatever of it is asked for."""
        known, rows = self.runs[name], self.history[name]
        return {
            **{"id": "1", "name": name, "description": None, "project": _project(known["project"])},
            **{key: known.get(key) for key in ("displayName", "tags", "config")},
            "sweepName": known.get("sweep"),
            "wandbConfig": known.get("config", "{}"),
            "summaryMetrics": json.dumps(self.summary.get(name, {})),
            "historyTail": json.dumps([json.dumps(row) for row in rows[-1:]]),
            "eventsTail": "[]",
            **{"logLineCount": 0, "historyLineCount": len(rows), "eventsLineCount": 0},
        }

    def on_CreateRunFiles(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        files = [{"name": name, "uploadUrl": f"{self.url}/storage/{name}"} for name in given["files"]]
        return {"createRunFiles": {"runID": "1", "uploadHeaders": [], "files": files}}

    def on_CreateArtifact(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        artifact = {"id": "1", "state": "COMMITTED", "artifactSequence": {"id": "1", "latestArtifact": None}}
        return {"createArtifact": {"artifact": artifact}}

    def on_UpsertSweep(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.sweep = given
        sweep = {"name": SWEEP, "project": _project(PROJECT)}
        return {"upsertSweep": {"sweep": sweep, "configValidationWarnings": []}}

    def on_SweepWithRuns(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        sweep = {"id": "1", "name": SWEEP, "state": "RUNNING", "config": self.sweep["config"], "runs": {"edges": []}}
        empty = ("method", "description", "heartbeatAt", "createdAt", "updatedAt", "earlyStopJobRunning")
        return {"project": {"sweep": {**dict.fromkeys(empty), **sweep}}}

    def on_CreateAgent(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"createAgent": {"agent": {"id": "agent1"}}}

    def on_Heartbeat(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        busy = any(json.loads(given.get("runState") or "{}").values())
        commands = [] if busy or not self.commands else self.commands.pop(0)
        return {"agentHeartbeat": {"agent": {"id": "agent1"}, "commands": json.dumps(commands)}}

    def stream(self, run: str, content: dict[str, Any]) -> None:
        """Keep what a run sends while it is running."""
        files = content.get("files", {})
        if "wandb-history.jsonl" in files:
            part = files["wandb-history.jsonl"]
            self.history[run][part["offset"] :] = [json.loads(line) for line in part["content"]]
        if "wandb-summary.json" in files:
            self.summary[run] = json.loads(files["wandb-summary.json"]["content"][-1])
        if "exitcode" in content:
            self.runs[run]["exitcode"] = content["exitcode"]


def _project(name: str) -> dict[str, Any]:
    return {"id": "1", "name": name, "entity": {"id": "1", "name": ENTITY}}


@contextmanager
def wandb_server() -> Iterator[WandbServer]:
    state = WandbServer()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            reply: dict[str, Any] = {}
            if self.path == "/graphql":
                asked = json.loads(body)
                named = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
                operation = named[1] if named else "anonymous"
                reply = {"data": state.graphql(operation, asked.get("variables") or {})}
            elif self.path.endswith("/file_stream"):
                state.stream(self.path.split("/")[-2], json.loads(body))
            elif self.path.startswith("/storage/"):
                state.files[self.path.removeprefix("/storage/")] = body
            sent = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = do_PUT = answer  # noqa: N815

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield state
        finally:
            server.shutdown()
