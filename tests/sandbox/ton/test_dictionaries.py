import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytoniq_core.boc.hashmap.hashmap import HashMap

from sandbox.ton.cells import Builder, Cell, CellError
from sandbox.ton.dictionaries import (
    CURRENCIES,
    DEPTH_BALANCE,
    KEY_MAX_LT,
    NO_EXTRA,
    Dictionary,
    KeyMaxLt,
    read_dictionary,
    store_label,
)

WIDTHS = (1, 2, 3, 8, 15, 32, 64, 256)


@st.composite
def mappings(draw: st.DrawFn) -> tuple[int, dict[int, int]]:
    width = draw(st.sampled_from(WIDTHS))
    # near keys and far ones: long common prefixes, runs of equal bits
    keys = st.one_of(
        st.integers(0, 2**width - 1), st.integers(0, min(7, 2**width - 1)), st.just(2**width - 1)
    )
    return width, draw(st.dictionaries(keys, st.integers(0, 2**32 - 1), max_size=20))


def plain(width: int, mapping: dict[int, int]) -> Dictionary[None]:
    dictionary: Dictionary[None] = Dictionary(width, NO_EXTRA)
    for key, value in mapping.items():
        dictionary = dictionary.put(key, Builder().uint(value, 32), None)
    return dictionary


def root_hash(cell: Cell | None) -> bytes | None:
    return None if cell is None else cell.hash


@given(mappings())
def test_a_dictionary_is_the_cell_that_pytoniq_makes(
    given_mapping: tuple[int, dict[int, int]],
) -> None:
    width, mapping = given_mapping
    theirs = HashMap(width, value_serializer=lambda value, to: to.store_uint(value, 32))
    for key, value in mapping.items():
        theirs.set_int_key(key, value)
    other = theirs.serialize()
    assert root_hash(plain(width, mapping).cell()) == (None if other is None else other.hash)


@given(mappings(), st.randoms())
def test_the_order_of_insertion_changes_nothing(
    given_mapping: tuple[int, dict[int, int]], chance: object
) -> None:
    width, mapping = given_mapping
    shuffled = list(mapping.items())
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert root_hash(plain(width, dict(shuffled)).cell()) == root_hash(plain(width, mapping).cell())


@given(mappings(), st.data())
def test_deleting_is_never_having_inserted(
    given_mapping: tuple[int, dict[int, int]], data: st.DataObject
) -> None:
    width, mapping = given_mapping
    gone = data.draw(st.sets(st.sampled_from(sorted(mapping)))) if mapping else set()
    dictionary = plain(width, mapping)
    for key in gone:
        dictionary = dictionary.delete(key)
    left = {key: value for key, value in mapping.items() if key not in gone}
    assert root_hash(dictionary.cell()) == root_hash(plain(width, left).cell())


@given(mappings(), st.data())
def test_every_key_is_found_and_no_other(
    given_mapping: tuple[int, dict[int, int]], data: st.DataObject
) -> None:
    width, mapping = given_mapping
    dictionary = plain(width, mapping)
    other = data.draw(st.integers(0, 2**width - 1))
    for key in {*mapping, other}:
        found = dictionary.get(key)
        assert (None if found is None else found.value) == mapping.get(key)
    assert [key for key, _ in dictionary.items()] == sorted(mapping)


@given(mappings())
def test_a_dictionary_is_read_back_from_its_cell(given_mapping: tuple[int, dict[int, int]]) -> None:
    width, mapping = given_mapping
    read = read_dictionary(plain(width, mapping).cell(), width)
    assert {key: value.value for key, value in read.items()} == mapping


def test_an_update_leaves_the_old_dictionary_as_it_was() -> None:
    old = plain(64, {1: 10, 2: 20})
    before = root_hash(old.cell())
    new = old.put(2, Builder().uint(21, 32), None).delete(1)
    assert root_hash(old.cell()) == before
    assert [(key, value.value) for key, value in new.items()] == [(2, 21)]


def test_deleting_an_absent_key_gives_the_same_tree() -> None:
    dictionary = plain(8, {1: 1, 2: 2})
    assert dictionary.delete(3).cell() is dictionary.cell()


def test_a_key_that_does_not_fit_is_refused() -> None:
    with pytest.raises(CellError, match="does not fit in 8 bits"):
        plain(8, {256: 1})


@pytest.mark.parametrize(
    ("label", "length", "remaining", "expected"),
    [
        (0, 0, 8, "00"),  # short, nothing: 0 then the end of a run of ones
        (1, 1, 1, "0101"),  # short: unary length, then the bit; a tie with the others goes to it
        (0b101, 3, 3, "1011101"),  # long: 2 + 2 + 3 bits, where short would take 8
        (0b1010, 4, 64, "0111101010"),  # short 10 bits; long would take 2 + 7 + 4
        (0, 4, 64, "0111100000"),  # short 10 bits ties with same 3 + 7
        (0, 5, 64, "1100000101"),  # same: 3 + 7 bits, where short would take 12
        (0b11111, 5, 64, "1110000101"),
    ],
)
def test_a_label_takes_the_shortest_form(
    label: int, length: int, remaining: int, expected: str
) -> None:
    builder = store_label(Builder(), label, length, remaining)
    assert f"{builder.value:0{builder.bits}b}" == expected


def test_a_label_longer_than_the_key_is_refused() -> None:
    with pytest.raises(CellError, match="longer than the key"):
        read_dictionary(store_label(Builder(), 0b101, 3, 8).end(), 2)


@given(st.dictionaries(st.integers(0, 2**256 - 1), st.integers(0, 2**60), min_size=1, max_size=12))
def test_balances_add_up_to_the_extra_of_the_whole(balances: dict[int, int]) -> None:
    accounts = Dictionary(256, DEPTH_BALANCE)
    for key, balance in balances.items():
        accounts = accounts.put(key, Builder().uint(1, 1), balance)
    assert accounts.extra == sum(balances.values())
    gone = next(iter(balances))
    assert accounts.delete(gone).extra == sum(balances.values()) - balances[gone]


def test_an_augmented_leaf_opens_with_its_extra_and_a_fork_ends_with_it() -> None:
    accounts = (
        Dictionary(2, CURRENCIES).put(0, Builder().uint(7, 8), 5).put(3, Builder().uint(9, 8), 6)
    )
    cell = accounts.cell()
    assert cell is not None
    fork = cell.begin().skip(2)  # an empty label
    left = fork.ref().begin()
    assert (fork.coins(), fork.uint(1), fork.bits_left) == (11, 0, 0)
    left.skip(4)  # a label of one bit
    assert (left.coins(), left.uint(1), left.uint(8)) == (5, 0, 7)


def test_an_empty_augmented_dictionary_still_has_an_extra() -> None:
    assert Dictionary(256, CURRENCIES).store(Builder()).bits == 1 + 4 + 1


def test_the_list_of_earlier_blocks_knows_whether_a_key_block_is_below() -> None:
    blocks = Dictionary(32, KEY_MAX_LT).put(0, Builder(), KeyMaxLt(key=True, max_end_lt=5))
    blocks = blocks.put(1, Builder(), KeyMaxLt(key=False, max_end_lt=9))
    assert blocks.extra == KeyMaxLt(key=True, max_end_lt=9)


@given(mappings(), st.data())
def test_a_path_is_what_a_look_up_reads(
    given_mapping: tuple[int, dict[int, int]], data: st.DataObject
) -> None:
    width, mapping = given_mapping
    dictionary = plain(width, mapping)
    path = dictionary.path(data.draw(st.integers(0, 2**width - 1)))
    cell = dictionary.cell()
    assert (cell is None) == (not path)
    if cell is not None:
        assert cell.hash in path
        assert len(path) <= width + 1
