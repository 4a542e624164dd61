"""A progress endpoint on loopback: TLS with its own certificate, answers as it is told."""

import json
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Endpoint:
    """Keeps what it was sent. `answers` are the next statuses; then 200."""

    def __init__(self, folder: Path) -> None:
        self.ca, self.token, key = folder / "ca.crt", folder / "token", folder / "key.pem"
        self.token.write_text("first\n")
        command = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ]
        command += ["-nodes", "-days", "1", "-subj", "/CN=endpoint", "-addext"]
        command += ["subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(self.ca)]
        subprocess.run(command, check=True, capture_output=True)
        self.answers: list[int] = []
        self.reports: list[dict[str, Any]] = []
        self.refused: list[dict[str, Any]] = []
        self.tokens: list[str] = []
        self.paths: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"https://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The accepted events of one type."""
        return [report["event"] for report in self.reports if report["event"]["type"] == kind]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = endpoint.answers.pop(0) if endpoint.answers else 200
                (endpoint.reports if status == 200 else endpoint.refused).append(body)
                endpoint.tokens.append(self.headers["Authorization"])
                endpoint.paths.append(self.path)
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        return Handler
