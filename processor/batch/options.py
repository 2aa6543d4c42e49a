"""How a pipeline reads and decides: what the settings say, and what the caller leaves out."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Self
from uuid import UUID

from ops.settings import Settings


@dataclass(frozen=True, slots=True)
class PipelineOptions:
    """How messages are read and decided; from the settings.

    `cluster_id` names the source of offsets (a Kafka cluster, or `file`); `topic_prefix` None means
    that topics name files and say nothing about the types in them. `publish`: messages about badges
    go to the outbox; `mint`: badges are minted by themselves where their policy says so.
    `mint_priority`: lower goes first.
    """

    cluster_id: str
    topic_prefix: str | None
    tenant_id: UUID
    future_tolerance: timedelta
    attempts_max: int = 8
    command_wait: timedelta = timedelta(hours=24)
    publish: bool = True
    mint: bool = True
    mint_priority: int = 0

    @property
    def is_silent(self) -> bool:
        """Return whether something that the stream would cause is left out."""
        return not (self.publish and self.mint)

    @classmethod
    def of(
        cls,
        settings: Settings,
        cluster_id: str,
        *,
        has_contract_topics: bool = True,
        publish: bool = True,
        mint: bool = True,
    ) -> Self:
        """Return the options that `settings` ask for.

        `has_contract_topics` False: topics name files.
        """
        return cls(
            cluster_id=cluster_id,
            topic_prefix=settings.kafka.topic_prefix if has_contract_topics else None,
            tenant_id=settings.tenant_id,
            future_tolerance=settings.worker.future_tolerance,
            command_wait=settings.worker.command_wait,
            attempts_max=settings.worker.retries_max,
            publish=publish,
            mint=mint,
        )
