"""Achievements: whether one is listed, and who sees a grant.

Pure.
"""

from enum import StrEnum


class AchievementStatus(StrEnum):
    """Whether an achievement is listed and may be granted: draft -> published -> active <-> hidden.

    A draft is neither, a published one is listed, an active one is both, a hidden one is granted
    in secret.
    """

    DRAFT = "draft"
    PUBLISHED = "published"
    HIDDEN = "hidden"
    ACTIVE = "active"


class Visibility(StrEnum):
    """Who sees a grant."""

    PUBLIC = "public"
    PRIVATE = "private"
