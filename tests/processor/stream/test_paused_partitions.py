"""Which partitions are paused, and which an operator has decided about."""

from processor.stream.paused_partitions import PausedPartitions
from store.values.stream import PausedPartition, PauseReason

QUESTS = PausedPartition("laurel.quests", 0, 5, PauseReason.RECORDS_REMOVED, "gone", 8)
CITIES = PausedPartition("laurel.cities", 1, 7, PauseReason.UNDECODABLE_BATCH, "broken")


def test_a_pause_is_new_once_and_again_where_it_says_something_else() -> None:
    pauses = PausedPartitions()
    assert pauses.pause(QUESTS)
    assert not pauses.pause(QUESTS)
    assert pauses.pause(PausedPartition(*QUESTS.key, 6, QUESTS.reason, "gone"))
    assert pauses.keys == {QUESTS.key}


def test_only_what_was_written_down_can_be_decided() -> None:
    pauses = PausedPartitions()
    pauses.pause(QUESTS)
    pauses.pause(CITIES)
    pauses.saved(QUESTS)
    assert pauses.unsaved() == [CITIES]
    assert pauses.decided(still_paused=[]) == [QUESTS.key]
    assert pauses.decided(still_paused=[QUESTS.key]) == []


def test_what_changed_while_it_was_written_down_is_written_again() -> None:
    pauses = PausedPartitions()
    changed = PausedPartition(*QUESTS.key, 6, QUESTS.reason, "gone")
    pauses.pause(QUESTS)
    pauses.pause(changed)
    pauses.saved(QUESTS)
    assert pauses.unsaved() == [changed]


def test_a_person_reads_which_partition_from_where_why_and_the_way_out() -> None:
    pauses = PausedPartitions()
    pauses.pause(QUESTS)
    assert list(pauses.troubles()) == ["laurel.quests[0]"]
    words = pauses.troubles()["laurel.quests[0]"]
    assert words.startswith("paused at offset 5 (records_removed): gone. ")
    assert "laurel partitions skip laurel.quests 0 --to 8 --reason TEXT" in words
    assert pauses.numbers() == {("laurel.quests", PauseReason.RECORDS_REMOVED): 1}
    assert pauses.forget([QUESTS.key, CITIES.key]) == [QUESTS]
    assert (pauses.troubles(), pauses.numbers()) == ({}, {})
