"""The words of the domain: enumerations and small records, a module a group.

Pure, and of the standard library only, so that whatever is pure may import them.

The values are stored as text under CHECK constraints; tests/store/test_enums.py holds both equal.
docs/data-model.md explains each.
"""
