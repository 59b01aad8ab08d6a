"""Who maps the scene: geomask's own command, and what others do with the same networks, a script each."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from environments import environment

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Contender:
    """One way from items to a map."""

    name: str
    """As tables and ``--only`` call it."""
    run: str
    """The run whose network it maps with: learned or dense."""
    script: str = ""
    """In this folder: ``python SCRIPT JOB.json``, where the job is items, network and out. Empty: ``geomask infer``."""
    packages: tuple[str, ...] = ()
    """The distributions whose versions are written down."""
    requirements: tuple[str, ...] = ()
    """What its own environment holds; empty: it runs in ours."""

    def command(self, environments: Path, runs: Mapping[str, Path], items: Path, out: Path) -> list[str]:
        """What maps `items` into the folder `out`, which is there. Raises SetupError."""
        python, network = environment(environments, self.name, self.requirements), runs[self.run]
        if not self.script:
            return [str(python.with_name("geomask")), "infer", str(network), str(items), "--out", str(out)]
        job = out.with_suffix(".job.json")
        job.write_text(json.dumps({"items": str(items), "network": str(network), "out": str(out)}))
        # -P: the script's folder does not come first on the path. Others' warnings are not ours to mend.
        return [str(python), "-P", "-W", "ignore", str(Path(__file__).parent / self.script), str(job)]

    def versions(self, environments: Path) -> dict[str, str]:
        """Of `packages`, where it runs. Raises SetupError."""
        python = environment(environments, self.name, self.requirements)
        return {name: _version(python, name) for name in self.packages}


def _version(python: Path, package: str) -> str:
    script = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run([python, "-c", script], check=True, capture_output=True, text=True).stdout.strip()


#: What all others are compared with.
DENSE = "odc-stac dense"
_ODC = ("odc-stac", "dask")
#: It imports einops without asking for it; the last four are what geomask's networks are loaded with.
_RSLEARN = ("rslearn==0.1.19", "einops", "lazy-loader", "pystac", "pyyaml", "safetensors")

CONTENDERS = (
    Contender("geomask", "learned"),
    Contender("geomask dense", "dense"),
    Contender(DENSE, "dense", "odc.py", _ODC),
    Contender("odc-stac selected", "learned", "odc.py", _ODC),
    Contender("rslearn", "dense", "rslearning.py", ("rslearn",), _RSLEARN),
)
