import numpy as np
import pytest
import torch
from costs import priced

from geomask.chips.split import make_splits
from geomask.chips.store import Chips
from geomask.grid import Grid, Window
from geomask.plan.cost import Cost
from geomask.read.receipt import Receipt
from geomask.selection import Selection
from geomask.stac.profile import Band
from geomask.stac.slots import make_slots
from geomask.train.task import Task

#: The two channels of the twelve whose sum decides the class.
TELLING = (4, 9)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """So small a network gains nothing from two, and where cores are shared threads wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def chips() -> Chips:
    """Twelve channels of noise, two of which decide the class of a pixel."""
    rng = np.random.default_rng(0)
    image = rng.normal(0, 1, (12, 12, 8, 8)).astype("float32")
    labels = (image[:, TELLING[0]] + image[:, TELLING[1]] > 0).astype("int64")
    windows = tuple(Window(0, 10 * number, 8, 8) for number in range(12))
    return Chips(100 + 10 * image, np.ones(image.shape, bool), labels, windows, 2)


@pytest.fixture(scope="session")
def cost() -> Cost:
    """Each channel in a file of its own: 100 bytes of header, 900 of pixels."""
    return priced([1000] * 12, header=100)


@pytest.fixture(scope="session")
def task(chips: Chips, cost: Cost) -> Task:
    from datetime import UTC, datetime

    import pystac

    dates = [datetime(2020, month, 1, tzinfo=UTC) for month in (1, 2, 3)]
    slots = make_slots(pystac.Item(f"{date:%m}", None, None, date, {}) for date in dates)
    selection = Selection.dense(slots, [Band(name, name, 10) for name in ("B02", "B03", "B04", "B08")])
    receipt = Receipt(0, 0, (), (), (), (), 0.0)
    grid = Grid("EPSG:32633", 0, 0, 10, 10, 10, 120)
    return Task(selection, grid, chips, cost, make_splits(len(chips)), ("no", "yes"), receipt)
