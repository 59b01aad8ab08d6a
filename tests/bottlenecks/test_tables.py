import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import gaussian_filter

from geomask.bottleneck.context import Classes, fronts, predict, runs
from geomask.bottleneck.histograms import MAX_SYMBOLS, NO_CUT, TOTAL, quantise
from geomask.bottleneck.tables import Tables
from geomask.errors import RunError, SelectionError

SIDES = st.integers(1, 6)


def field(seed: int, shape: tuple[int, int, int], amplitude: float = 6.0) -> np.ndarray:
    smooth = gaussian_filter(np.random.default_rng(seed).normal(size=shape), (0, 2, 2))
    return np.rint(amplitude * smooth / smooth.std()).astype(np.int32)


def hand_written(lows: list[int], counts: list[list[list[int]]], cuts: list[list[int]]) -> Tables:
    return Tables(*(np.array(part, np.int32) for part in (lows, counts, cuts)))


def slow_v(plane: np.ndarray, y: int, x: int) -> int | None:
    """As the specification says it, neighbour by neighbour."""
    if y == 0 and x == 0:
        return None
    if y == 0:
        a = b = c = d = int(plane[y, x - 1])
    else:
        b = int(plane[y - 1, x])
        a = int(plane[y, x - 1]) if x else b
        d = int(plane[y - 1, x - 1]) if x else b
        c = int(plane[y - 1, x + 1]) if x + 1 < plane.shape[1] else b
    return 2 * a + 2 * b + c - d


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.int32, st.tuples(st.integers(1, 2), SIDES, SIDES), elements=st.integers(0, 9)), st.data())
def test_classes_are_those_of_a_slow_loop(latents: np.ndarray, data: st.DataObject) -> None:
    number, rows, columns = latents.shape
    lows = np.array(data.draw(st.lists(st.integers(-20, 20), min_size=number, max_size=number)), np.int32)
    edges = st.lists(st.integers(-150, 150), min_size=3, max_size=3).map(sorted)
    cuts = np.array(data.draw(st.lists(edges, min_size=number, max_size=number)), np.int32)
    y, x = np.divmod(np.arange(rows * columns), columns)
    found = Classes.make(lows, cuts, 10).find(np.ascontiguousarray(latents.reshape(number, -1).T), y, x, columns)
    for latent, plane in enumerate(latents + lows[:, None, None]):
        values = [slow_v(plane, at, to) for at, to in zip(y.tolist(), x.tolist(), strict=True)]
        classes = [0 if v is None else 1 + sum(v >= cut for cut in cuts[latent].tolist()) for v in values]
        assert found[:, latent].tolist() == [latent * 5 + one for one in classes]


@given(st.integers(1, 9), st.integers(1, 9))
def test_fronts_hold_each_position_once_after_its_neighbours(rows: int, columns: int) -> None:
    front_of = np.full((rows, columns), -1)
    for number, (y, x) in enumerate(fronts(rows, columns)):
        assert (front_of[y, x] == -1).all()
        front_of[y, x] = number
    assert front_of.min() == 0
    assert (front_of[:, 1:] > front_of[:, :-1]).all()  # a
    assert (front_of[1:] > front_of[:-1]).all()  # b
    assert (front_of[1:, :-1] > front_of[:-1, 1:]).all()  # c
    assert (front_of[1:, 1:] > front_of[:-1, :-1]).all()  # d


def test_runs_hold_each_position_once_in_order() -> None:
    parts = list(runs(400, 301))
    assert len(parts) == 8
    y, x = (np.concatenate(part) for part in zip(*parts, strict=True))
    np.testing.assert_array_equal(y * 301 + x, np.arange(400 * 301))


def test_v_is_four_times_a_flat_plane() -> None:
    y, x = np.divmod(np.arange(12), 4)
    np.testing.assert_array_equal(predict(np.full((12, 1), -7, np.int32), y, x, 4)[1:], -28)


@given(
    hnp.arrays(
        np.float64, st.tuples(st.integers(1, 3), st.integers(1, 40)), elements=st.floats(0, 1e6, allow_subnormal=False)
    )
)
def test_counts_add_up_and_are_near_what_was_asked(weights: np.ndarray) -> None:
    probabilities = (weights + 1e-3) / (weights + 1e-3).sum(1, keepdims=True)
    counts = quantise(probabilities)
    symbols = weights.shape[1]
    assert (counts.sum(1) == TOTAL).all()
    assert counts.min() >= 1
    assert np.abs(counts - 1 - probabilities * (TOTAL - symbols)).max() < 1.01


def test_what_is_left_goes_where_most_was_lost() -> None:
    counts = quantise(np.array([[0.5, 0.25, 0.25], [1 / 3, 1 / 3, 1 / 3]]))
    # Of 2^20 - 3: 524286.5, 262143.25 and 262143.25, then a third of it each; and one for every symbol.
    assert counts.tolist() == [[524288, 262144, 262144], [349526, 349525, 349525]]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=4),
    st.integers(1, 3),
    st.sampled_from([1, 2, 12]),
    st.integers(0, 99),
)
def test_tables_hold_all_that_was_seen_and_a_margin(
    sides: list[tuple[int, int]], number: int, contexts: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    samples = [rng.integers(-9, 10, (number, *side), dtype=np.int32) for side in sides]
    tables = Tables.fit(samples, contexts=contexts)
    values = [np.concatenate([sample[latent].ravel() for sample in samples]) for latent in range(number)]
    assert tables.lows.tolist() == [int(value.min()) - 2 for value in values]
    assert tables.highs.tolist() == [int(value.max()) + 2 for value in values]
    for sample in samples:
        np.testing.assert_array_equal(tables.clip(sample), sample)
        assert np.isfinite(tables.bits(sample)).all()


def test_one_array_is_as_good_as_a_list_and_order_does_not_count() -> None:
    chips = np.stack([field(seed, (2, 9, 8)) for seed in range(40)])
    digest = Tables.fit(chips).digest
    assert Tables.fit(list(chips)).digest == digest == Tables.fit(chips[::-1]).digest
    assert Tables.fit(chips[1:]).digest != digest


def test_many_tiny_chips() -> None:
    chips = np.random.default_rng(5).integers(-2, 3, (3000, 2, 1, 1), dtype=np.int32)
    tables = Tables.fit(chips)
    assert tables.contexts == 1  # nothing has neighbours
    shares = tables.counts[0, 0, 2:-2] / TOTAL
    assert np.abs(shares - np.bincount(chips[:, 0].ravel() + 2) / 3000).max() < 1e-3


def test_the_first_histogram_is_that_of_all_symbols_and_others_those_of_their_classes() -> None:
    latents = field(7, (1, 70, 70))
    tables = Tables.fit([latents], contexts=3)
    low, width = int(tables.lows[0]), int(tables.widths[0])
    shares = np.bincount(latents.ravel() - low, minlength=width) / latents.size
    assert np.abs(tables.counts[0, 0] / TOTAL - shares).max() < 1e-3
    y, x = np.divmod(np.arange(1, latents.size), 70)
    v = predict(latents.reshape(-1, 1), y, x, 70)[:, 0]
    for number, (least, most) in enumerate(itertools.pairwise([-9999, *tables.cuts[0].tolist(), 9999])):
        inside = latents.ravel()[1:][(v >= least) & (v < most)]
        assert len(inside) > 1000
        shares = np.bincount(inside - low, minlength=width) / len(inside)
        assert np.abs(tables.counts[0, 1 + number] / TOTAL - shares).max() < 0.005


def test_classes_are_as_many_as_the_data_bear() -> None:
    small, large = field(1, (1, 20, 20)), field(2, (1, 60, 60))
    assert Tables.fit([small]).contexts == 1
    assert Tables.fit([small, small + 1]).contexts == 3  # 798 symbols with neighbours
    assert Tables.fit([large]).contexts == 12
    assert Tables.fit([large], contexts=4).contexts == 4


def test_a_latent_with_fewer_classes_has_cuts_that_nothing_reaches() -> None:
    both = np.concatenate([field(1, (1, 60, 60)), np.full((1, 60, 60), 3, np.int32)])
    tables = Tables.fit([both])
    assert (tables.cuts[1] == NO_CUT).all()
    assert (tables.counts[1, 2:] == tables.counts[1, :1, :]).all()
    assert tables.bits(both)[1] < 30


def test_a_value_that_fills_classes_is_one_by_itself() -> None:
    plane = np.zeros((1, 80, 80), np.int32)
    plane[0, 10:20, 10:40], plane[0, 40:50, 10:40] = 5, -5
    cuts = Tables.fit([plane]).cuts[0]
    assert {0, 1} <= set(cuts.tolist())


def test_what_was_not_seen_counts_for_nothing() -> None:
    latents, seen = field(3, (2, 30, 30)), np.random.default_rng(3).random((30, 30)) < 0.6
    other = np.where(seen, latents, 1000)
    assert Tables.fit([latents], [seen]).digest == Tables.fit([other], [seen]).digest != Tables.fit([latents]).digest
    tables = Tables.fit([latents], [seen])
    np.testing.assert_array_equal(tables.bits(latents, seen), tables.bits(tables.clip(other), seen))
    assert Tables.fit([latents], [np.zeros((30, 30), bool)]).lows.tolist() == [-2, -2]


def test_a_wide_latent_keeps_what_lies_around_its_median() -> None:
    values = np.concatenate([np.arange(-20, 20), [100_000]]).astype(np.int32).reshape(1, 1, -1)
    tables = Tables.fit([values])
    assert tables.widths.tolist() == [MAX_SYMBOLS]
    assert tables.lows[0] <= -20
    assert tables.highs[0] < 100_000
    assert tables.clip(values)[0, 0, -1] == tables.highs[0]


@pytest.mark.parametrize("seed", [0, 1])
def test_surroundings_pay_where_planes_are_smooth_and_cost_little_where_they_are_noise(seed: int) -> None:
    def gain(train: list[np.ndarray], test: np.ndarray) -> float:
        plain, full = Tables.fit(train, contexts=1), Tables.fit(train)
        return float(full.bits(full.clip(test)).sum() / plain.bits(plain.clip(test)).sum())

    smooth = [field(10 * seed + number, (2, 64, 64), 20) for number in range(8)]
    noise = list(np.random.default_rng(seed).binomial(20, 0.5, (8, 2, 64, 64)).astype(np.int32))
    assert gain(smooth[1:], smooth[0]) < 0.8
    assert 0.99 < gain(noise[1:], noise[0]) < 1.01


def test_bits_are_those_of_the_counts() -> None:
    tables = hand_written(
        [-1, 4],
        [[[TOTAL // 2, TOTAL // 2], [TOTAL // 4, 3 * TOTAL // 4]], [[TOTAL, 0], [TOTAL, 0]]],
        [[], []],
    )
    latents = np.array([[[-1, -1, 0]], [[4, 4, 4]]], np.int32)
    assert tables.highs.tolist() == [0, 4]
    np.testing.assert_allclose(tables.bits(latents), [1 + 2 + np.log2(4 / 3), 0])
    np.testing.assert_allclose(tables.bits(latents, np.array([[False, True, False]])), [2, 0])


def test_the_digest_is_of_little_endian_integers_whatever_the_machine() -> None:
    tables = hand_written([3], [[[TOTAL - 1, 1], [1, TOTAL - 1], [5, TOTAL - 5]]], [[7]])
    parts = [3, TOTAL - 1, 1, 1, TOTAL - 1, 5, TOTAL - 5, 7]
    said = b"geomask tables 1 1048576 (1, 3, 2)" + b"".join(part.to_bytes(4, "little") for part in parts)
    assert tables.digest == hashlib.sha256(said).hexdigest()


@pytest.mark.parametrize(
    ("lows", "counts", "cuts", "said"),
    [
        ([0], [[[TOTAL, 0]]], [[]], "do not go together"),
        ([0, 0], [[[TOTAL], [TOTAL]]], [[]], "do not go together"),
        ([0], [[[TOTAL], [TOTAL]]], [[1]], "do not go together"),
        ([0], [[[TOTAL], [TOTAL - 1]]], [[]], "adds up to"),
        ([0], [[[TOTAL + 1, -1], [TOTAL, 0]]], [[]], "adds up to"),
        ([0], [[[0, TOTAL], [0, TOTAL]]], [[]], "a 0 among"),
        ([0], [[[TOTAL - 1, 1], [TOTAL, 0]]], [[]], "a 0 among"),
        ([0], [[[TOTAL], [TOTAL], [TOTAL], [TOTAL]]], [[2, 1]], "do not ascend"),
        ([1 << 29], [[[TOTAL], [TOTAL]]], [[]], "the limit"),
        ([-(1 << 31)], [[[TOTAL], [TOTAL]]], [[]], "the limit"),
        ([(1 << 31) - 1], [[[TOTAL - 1, 1], [TOTAL - 1, 1]]], [[]], "the limit"),
        ([0], [[[TOTAL]] * 300], [[1] * 298], "are the most"),
    ],
)
def test_broken_tables_are_refused(
    lows: list[int], counts: list[list[list[int]]], cuts: list[list[int]], said: str
) -> None:
    with pytest.raises(RunError, match=said):
        Tables(np.array(lows, np.int32), np.array(counts, np.int32), np.array(cuts, np.int32).reshape(len(cuts), -1))


def test_other_dtypes_are_refused() -> None:
    with pytest.raises(RunError, match="each is int32"):
        Tables(np.zeros(1, np.int64), np.full((1, 2, 1), TOTAL, np.int32), np.empty((1, 0), np.int32))


@pytest.mark.parametrize(
    ("samples", "seen", "said"),
    [
        ([], None, "one or more"),
        ([np.zeros((1, 2, 2), np.int32)], [], "a mask for each"),
        ([np.zeros((1, 2, 2))], None, "give int32"),
        ([np.zeros((2, 2), np.int32)], None, "give int32"),
        ([np.zeros((1, 0, 2), np.int32)], None, "give int32"),
        ([np.zeros((1, 2, 2), np.int32), np.zeros((2, 2, 2), np.int32)], None, "give int32"),
        ([np.zeros((1, 2, 2), np.int32)], [np.ones((2, 3), bool)], "a mask is"),
        ([np.full((1, 1, 1), -(1 << 31), np.int32)], None, "they lie within"),
    ],
)
def test_samples_that_do_not_fit_are_refused(
    samples: list[np.ndarray], seen: list[np.ndarray] | None, said: str
) -> None:
    with pytest.raises(SelectionError, match=said):
        Tables.fit(samples, seen)


@pytest.mark.parametrize("contexts", [0, 256])
def test_numbers_of_contexts_have_limits(contexts: int) -> None:
    with pytest.raises(SelectionError, match="give 1 to 255"):
        Tables.fit([np.zeros((1, 2, 2), np.int32)], contexts=contexts)
