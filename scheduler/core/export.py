"""The tables that a run is exported as.

Owns: their columns, with kinds and units: what the API answers, what a file's schema is made of, and what the
documentation says. Pure; never reads a run. Invariant: a column keeps its name, kind and meaning as long as `FORMAT`
stays; new ones come at the end.
"""

from dataclasses import dataclass
from enum import StrEnum

FORMAT = 1
"""Of the tables together; it is in every file."""


class Kind(StrEnum):
    """What a column has in it."""

    TEXT = "text"
    """UTF-8."""
    COUNT = "count"
    """A whole number of 64 bits."""
    NUMBER = "number"
    """A floating-point number of 64 bits."""
    FLAG = "flag"
    """Yes or no."""
    MOMENT = "moment"
    """A point in time: in Parquet microseconds in UTC, in JSON seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    name: str
    kind: Kind
    meaning: str
    """With its unit."""
    may_be_missing: bool = False


class ExportTable(StrEnum):
    """Which tables there are, each a file."""

    LEDGER = "ledger"
    """What became of every attempt, in counts: one row for each that is not 0."""
    PROMPTS = "prompts"
    """Every prompt of the run's pools with what the run knows of it."""
    HISTORY = "history"
    """What happened to each prompt, the last fifty events of each, oldest first."""
    GROUPS = "groups"
    """The newest visits, and the groups they became."""
    COMPLETIONS = "completions"
    """Every attempt of those visits, with what it answered where that is kept."""


_TEXT, _COUNT, _NUMBER, _FLAG, _MOMENT = Kind.TEXT, Kind.COUNT, Kind.NUMBER, Kind.FLAG, Kind.MOMENT

COLUMNS: dict[ExportTable, tuple[Column, ...]] = {
    ExportTable.LEDGER: (
        Column("stage", _TEXT, "pilot, commit or eval; none where it counts visits", True),
        Column("status", _TEXT, "open state or outcome of attempts, how visits ended; none for tokens", True),
        Column("unit", _TEXT, "what is counted: attempts, generated_tokens, prompt_tokens or visits"),
        Column("value", _COUNT, "how many; attempts and generated tokens of pilot and commit are the run's spend"),
    ),
    ExportTable.PROMPTS: (
        Column("pool", _TEXT, "the pool it is of"),
        Column("prompt_id", _TEXT, "its id in the run"),
        Column("text", _TEXT, "what was tokenised; empty where token ids were given"),
        Column("answer", _TEXT, "reference answer"),
        Column("prompt_tokens", _COUNT, "tokens of the prompt"),
        Column("metadata", _TEXT, "what was given beside it, as a JSON object"),
        Column("state", _TEXT, "ready, claimed, waiting or quarantined"),
        Column("visits", _COUNT, "visits so far, those passed over by history included"),
        Column("success_rate", _NUMBER, "share of right rollouts expected; none before the first visit", True),
        Column("informativeness", _NUMBER, "reward variance expected; none before the first visit", True),
        Column("last_verdict", _TEXT, "commit, skip, defer or evict; none before the first", True),
        Column("reason", _TEXT, "why"),
        Column("next_version", _COUNT, "weight version at which a waiting prompt returns; none is never", True),
        Column("pilots", _COUNT, "pilots with a reward so far"),
        Column("commits", _COUNT, "commits with a reward so far"),
        Column("tokens_per_rollout", _NUMBER, "generated tokens of a rollout, on average"),
    ),
    ExportTable.HISTORY: (
        Column("prompt_id", _TEXT, "of the prompt"),
        Column("at", _MOMENT, "when it happened"),
        Column("version", _COUNT, "the policy's weight version then"),
        Column("what", _TEXT, "a verdict, published, trained, expired, passed_over, quarantined, reinstated, …"),
        Column("reason", _TEXT, "why; empty without one"),
        Column("pilots", _COUNT, "pilots of that visit with a reward"),
        Column("correct", _COUNT, "right ones of them"),
        Column("visit_id", _TEXT, "the visit that ended so; empty for what happened to a group, and without a visit"),
        Column("group_id", _TEXT, "the group; it has the id of its visit, empty without one"),
        Column("step", _COUNT, "training step of the group", True),
    ),
    ExportTable.GROUPS: (
        Column("visit_id", _TEXT, "of the visit, and of the group it became"),
        Column("prompt_id", _TEXT, "of the prompt"),
        Column("is_group", _FLAG, "whether it became a group"),
        Column("status", _TEXT, "where its rollouts stand, or what became of them: as in the ledger"),
        Column("verdict", _TEXT, "how the visit ended: published is a commit; none while it is open", True),
        Column("reason", _TEXT, "why it was decided so", True),
        Column("ended_at", _MOMENT, "when the visit ended", True),
        Column("version", _COUNT, "the policy's weight version when the visit ended", True),
        Column("group_end", _TEXT, "how the group ended: trained, expired, …; none while it is open or without", True),
        Column("group_ended_at", _MOMENT, "when", True),
        Column("step", _COUNT, "training step whose batch it is in or was trained in", True),
        Column("attempts", _COUNT, "attempts made, those that came to nothing included"),
        Column("pilots", _COUNT, "pilots with a reward"),
        Column("commits", _COUNT, "commits with a reward"),
        Column("correct", _COUNT, "right rollouts"),
        Column("mean_reward", _NUMBER, "of its rollouts; none without any", True),
        Column("tokens", _COUNT, "generated tokens of its rollouts"),
        Column("oldest_version", _COUNT, "oldest weight version behind a rollout's tokens", True),
        Column("newest_version", _COUNT, "newest", True),
    ),
    ExportTable.COMPLETIONS: (
        Column("rid", _TEXT, "request id of the attempt"),
        Column("visit_id", _TEXT, "the visit, and the group, it was made in"),
        Column("prompt_id", _TEXT, "of the prompt"),
        Column("stage", _TEXT, "pilot or commit"),
        Column("status", _TEXT, "where it stands, or how it ended: as in the ledger"),
        Column("server", _TEXT, "address of the server; empty while in flight and where the scheduler is gone"),
        Column("oldest_version", _COUNT, "oldest weight version behind its tokens; none without a completion", True),
        Column("newest_version", _COUNT, "newest", True),
        Column("tokens", _COUNT, "generated tokens"),
        Column("reward", _NUMBER, "the reward it is trained with; none without one", True),
        Column("correct", _FLAG, "whether it is right", True),
        Column("finish_reason", _TEXT, "stop or length; none without a completion", True),
        Column("reason", _TEXT, "why it has no reward; empty where it has"),
        Column("text", _TEXT, "what it answered; none where that is not kept (any more)", True),
    ),
}
