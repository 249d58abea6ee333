"""A web server on the loopback that misbehaves as told."""

from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What the server serves, and what it was asked for.

    Attributes:
        files: Content by path.
        ranges: Whether it honours Range.
        cut: Bytes that it sends of its first answer before it hangs up; None for all.
        cut_later: The same of its later answers.
        validator: ETag of every file; empty if it gives none.
        status: Status of every answer; 0 for the right one.
        asked: Range header of each request, "" if it had none.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    cut: int | None = None
    cut_later: int | None = None
    validator: str = '"1"'
    status: int = 0
    asked: list[str] = field(default_factory=list)
    address: str = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range", "")
        self.asked.append(wanted)
        content = self.files.get(request.path.lstrip("/"))
        if self.status or content is None:
            request.send_error(self.status or 404)
            return
        fresh = request.headers.get("If-Range") == self.validator
        first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges and fresh else 0
        request.send_response(206 if first else 200)
        if first:
            request.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        if self.validator:
            request.send_header("ETag", self.validator)
        request.send_header("Content-Length", str(len(content) - first))
        request.end_headers()
        request.wfile.write(content[first:][: self.cut if len(self.asked) == 1 else self.cut_later])


def server_of(site: Site) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.answer(self)

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)
