"""nginx over a folder, and what its own log says was asked and sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from urllib.parse import quote

from services import free_port, program, serving

# One process, in the foreground, that writes to no folder but `work`. Beside the files as they are: /zipped/ offers
# them compressed, /whole/ knows no ranges.
_SETTINGS = """
daemon off;
master_process off;
pid "{work}/pid";
error_log stderr;
events {{ worker_connections 256; }}
http {{
    log_format asked escape=json
        '{{"path":"$uri","status":$status,"nbytes":$body_bytes_sent,"connection":$connection}}';
    access_log "{work}/access.log" asked;
    client_body_temp_path "{work}/body";
    proxy_temp_path "{work}/proxy";
    fastcgi_temp_path "{work}/fastcgi";
    uwsgi_temp_path "{work}/uwsgi";
    scgi_temp_path "{work}/scgi";
    default_type application/octet-stream;
    types {{ application/json json; }}
    gzip_types *;
    gzip_min_length 1;
    server {{
        listen 127.0.0.1:{port};
        root "{folder}";
        location /zipped/ {{ alias "{folder}/"; gzip on; }}
        location /whole/ {{ alias "{folder}/"; max_ranges 0; }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Answered:
    """A line of the log."""

    path: str
    status: int
    nbytes: int
    """Of the body."""
    connection: int


class Nginx:
    """A running one."""

    def __init__(self, folder: Path, port: int, log: Path) -> None:
        self.folder, self.host, self.url = folder, f"127.0.0.1:{port}", f"http://127.0.0.1:{port}"
        self._log, self._marks, self._read = log, count(), 0

    def href(self, path: Path, prefix: str = "") -> str:
        return f"{self.url}/{prefix}{quote(str(path.relative_to(self.folder)))}"

    def log(self) -> list[Answered]:
        """What was answered since the last call.

        nginx writes a line after the body, so the reader may be here first. A last request is logged after all others.
        """
        mark = f"/mark-{next(self._marks)}"
        with closing(HTTPConnection(self.host)) as connection:
            connection.request("GET", mark)
            connection.getresponse().read()
        while True:
            lines = self._log.read_text().splitlines(keepends=True)[self._read :]
            answers = [Answered(**json.loads(line)) for line in lines if line.endswith("\n")]
            if answers and answers[-1].path == mark:
                self._read += len(lines)
                return answers[:-1]


@contextmanager
def nginx(folder: Path, work: Path) -> Iterator[Nginx]:
    """One over `folder`, which keeps its settings and its log in `work`."""
    path, port = program("nginx", "nginx"), free_port()
    settings = work / "nginx.conf"
    settings.write_text(_SETTINGS.format(work=work, folder=folder, port=port))
    with serving([path, "-e", "stderr", "-p", str(work), "-c", str(settings)], port):
        yield Nginx(folder, port, work / "access.log")
