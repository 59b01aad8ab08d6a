"""LassoNet's ranking of features, in an environment of its own: its requirements are not ours.

Run by that environment's Python with a file of features and labels, it writes the order beside it.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

REQUIREMENTS = ("lassonet==0.0.20",)
#: Samples that the path is followed on, drawn at random, and seconds that it may take.
SAMPLES, LIMIT = 400, 120


class LassoNet:
    """Lemhadri, Ruan, Abraham & Tibshirani, "LassoNet: A Neural Network with Feature Sparsity" (2021)."""

    def __init__(self, python: Path) -> None:
        """`python` is that of the environment."""
        self._python = python

    def order(self, features: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Features by the penalty at which they are left out, int64 (features,), the last one first.

        Raises LookupError where it fails or takes too long.
        """
        at = np.random.default_rng(0).permutation(len(labels))[:SAMPLES]
        values = (features[at] - features[at].mean(0)) / np.maximum(features[at].std(0), 1e-9)
        with TemporaryDirectory(prefix="lassonet-") as folder:
            sample, answer = Path(folder, "sample.npz"), Path(folder, "order.npy")
            np.savez(sample, features=values.astype(np.float32), labels=np.unique(labels[at], return_inverse=True)[1])
            command = [str(self._python), __file__, str(sample), str(answer)]
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT)
            except subprocess.TimeoutExpired as error:
                raise LookupError(f"takes more than {LIMIT} s") from error
            if done.returncode:
                raise LookupError(" ".join(done.stderr.split())[-200:])
            order: np.ndarray = np.load(answer)
            return order


def main(sample: str, answer: str) -> None:
    """In the environment: follow the path from dense to empty, twice."""
    import torch
    from lassonet import LassoNetClassifier

    torch.set_num_threads(1)
    with np.load(sample) as file:
        features, labels = file["features"], file["labels"]

    def follow(rate: float, start: float | str, times: float, updates: int) -> tuple[LassoNetClassifier, list[Any]]:
        optimizers = partial(torch.optim.Adam, lr=1e-3), partial(torch.optim.SGD, lr=rate)
        model = LassoNetClassifier(
            hidden_dims=(32,),
            lambda_start=start,
            path_multiplier=times,
            n_iters=(100, updates),
            patience=(20, 5),
            optim=optimizers,
            random_state=0,
            torch_seed=0,
        )
        return model, model.path(features, labels, return_state_dicts=False)

    # By large steps until features fall out; from there by small ones, or most of them would fall out at once.
    _, path = follow(1e-3, "auto", 1.5, 5)
    whole = [step.lambda_ for step in path if bool(step.selected.all())]
    model, _ = follow(1e-4, whole[-2] if len(whole) > 1 else "auto", 1.02, 5)
    np.save(answer, np.argsort(-model.feature_importances_.numpy(), kind="stable"))


if __name__ == "__main__":
    main(*sys.argv[1:])
