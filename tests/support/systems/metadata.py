"""The instance metadata service of a spot instance; stands alone, because a VM under test runs it.

It gives the notice of a reclaim once the file that its argument names exists. IMDSv2 only:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ADDRESS = ("169.254.169.254", 80)
TOKEN = "an-imdsv2-token"


class Handler(BaseHTTPRequestHandler):
    """Answers of the service; everything that it does not have is 404."""

    notice = Path()

    def do_PUT(self) -> None:
        """Return a token."""
        is_valid = self.path == "/latest/api/token" and self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
        self._answer(TOKEN if is_valid else None)

    def do_GET(self) -> None:
        """Return a value, to a caller with a token."""
        if self.headers["X-aws-ec2-metadata-token"] != TOKEN:
            self.send_error(401)
            return
        values = {"instance-life-cycle": "spot"}
        if self.notice.exists():
            values["spot/instance-action"] = self.notice.read_text()
        self._answer(values.get(self.path.removeprefix("/latest/meta-data/")))

    def _answer(self, text: str | None) -> None:
        if text is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())


if __name__ == "__main__":
    Handler.notice = Path(sys.argv[1])
    ThreadingHTTPServer(ADDRESS, Handler).serve_forever()
