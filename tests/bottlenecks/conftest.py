import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """So small a network gains nothing from two, and where cores are shared threads wait for each other."""
    torch.set_num_threads(1)
