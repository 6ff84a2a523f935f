"""A run as rows of tables, a page at a time.

Owns: which rows a page has, and where the next one begins. Never writes a file. Invariants: a page costs a bounded
look and no row is on two pages, also while the run goes on; rows have exactly the columns of `scheduler.core.export`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from scheduler.core.errors import InvalidInput
from scheduler.core.export import ExportTable
from scheduler.core.ledger import Ledger
from scheduler.core.run import RunConfig
from scheduler.core.spend import visit_ends
from scheduler.core.types import Prompt, Stage
from scheduler.explanations import Explanations, VisitStory
from scheduler.service import Service
from scheduler.state.completions import CompletionStore
from scheduler.state.keys import RunKeys
from scheduler.state.records import Attempt, RecordStore
from scheduler.state.row import Event, PromptView
from scheduler.state.run_pools import RunPools
from scheduler.state.table import Table

Row = Mapping[str, object]
_MOST_CHARS = 4 << 20
"""Text on a page, from which on it ends early: it is made beside the engine."""
_EVENT_CHARS = 400
"""Of an event of a history, about."""
_PROMPTS_AT_ONCE = 50
_VISITS_AT_ONCE = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportPage:
    """Some rows of a table."""

    rows: Sequence[Row]
    after: str | None
    """What the next page is asked for with; None after the last."""


class Exports:
    """Answers pages, whether or not an engine is at work."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._explanations = Explanations(service)

    async def page(self, run_id: str, table: ExportTable, *, after: str, count: int) -> ExportPage:
        """Rows of at most `count` prompts or visits that come after `after`; raises NotFound, InvalidInput for it."""
        config = (await self._service.runs.get(run_id)).config
        match table:
            case ExportTable.LEDGER:
                return ExportPage(rows=ledger_rows(await self._service.runs.counters(run_id)), after=None)
            case ExportTable.PROMPTS | ExportTable.HISTORY:
                return await self._prompts(run_id, config, table, after, count)
            case ExportTable.GROUPS | ExportTable.COMPLETIONS:
                return await self._visits(run_id, table, after, count)

    async def _prompts(self, run_id: str, config: RunConfig, table: ExportTable, after: str, count: int) -> ExportPage:
        """Pool after pool, each in its order of arrival, which never changes."""
        pools, redis = RunPools(self._service.redis, config.mixture), self._service.redis
        number, sequence = _place(table, after, len(config.mixture.names))
        pool = config.mixture.names[number]
        page = await pools.page(pool, sequence, count=count)
        names = [name for name, _ in page]
        views = Table.of(redis, RunKeys(run_id), config)
        rows: list[Row] = []
        done, num_chars = 0, 0
        while done < len(page) and num_chars < _MOST_CHARS:
            part = names[done : done + _PROMPTS_AT_ONCE]
            done += len(part)
            if table is ExportTable.HISTORY:
                for name, events in (await views.histories(part)).items():
                    rows += [history_row(name, event) for event in reversed(events)]
                    num_chars += len(events) * _EVENT_CHARS
            else:
                for prompt, view in zip(await pools.prompts(part), await views.many(part), strict=True):
                    rows.append(prompt_row(pool, prompt, view))
                    num_chars += len(prompt.text)
        if done < len(page) or len(page) == count:
            return ExportPage(rows=rows, after=f"{number}.{page[done - 1][1]}")
        return ExportPage(rows=rows, after=f"{number + 1}.0" if number + 1 < len(config.mixture.names) else None)

    async def _visits(self, run_id: str, table: ExportTable, after: str, count: int) -> ExportPage:
        """In the order of their ids: that of their ends changes when a group ends."""
        keys = RunKeys(run_id)
        names = [name for name in await RecordStore(self._service.redis, keys).ids() if name > after]
        rows: list[Row] = []
        num_chars, done = 0, 0
        while done < min(count, len(names)) and num_chars < _MOST_CHARS:
            part = names[done : min(count, done + _VISITS_AT_ONCE)]
            done += len(part)
            stories = await self._explanations.recorded(keys, part)
            if table is ExportTable.GROUPS:
                rows += [group_row(story) for story in stories]
                continue
            texts = await CompletionStore(self._service.redis, keys).many(part)
            for story in stories:
                said = texts.get(story.visit_id, {})
                num_chars += sum(len(text) for text in said.values())
                rows += [completion_row(story, attempt, said.get(attempt.rid)) for attempt in story.attempts]
        return ExportPage(rows=rows, after=names[done - 1] if done < len(names) else None)


def _place(table: ExportTable, after: str, num_pools: int) -> tuple[int, int]:
    """Which pool a page begins in, and after which of its prompts."""
    number, _, sequence = (after or "0.0").partition(".")
    if not (number.isdecimal() and sequence.isdecimal() and int(number) < num_pools):
        raise InvalidInput(f"{after!r} is not what a page of {table} was answered with", field="after")
    return int(number), int(sequence)


def ledger_rows(counters: Mapping[str, int]) -> list[Row]:
    """What a run's counters say of its attempts, tokens and visits, zeros left out."""
    return [row for row in _ledger_rows(counters) if row["value"]]


def _ledger_rows(counters: Mapping[str, int]) -> Iterator[Row]:
    for stage, line in Ledger.from_counters(counters).stages.items():
        for status, count in (*line.open.items(), *line.outcomes.items()):
            yield _counted(stage, status, "attempts", count)
        yield _counted(stage, None, "generated_tokens", line.tokens)
        yield _counted(stage, None, "prompt_tokens", line.prompt_tokens)
    for end, count in visit_ends(counters).items():
        yield _counted(None, end, "visits", count)


def _counted(stage: Stage | None, status: str | None, unit: str, value: int) -> Row:
    return {"stage": stage, "status": status, "unit": unit, "value": value}


def prompt_row(pool: str, prompt: Prompt, view: PromptView) -> Row:
    """One prompt."""
    evidence = view.row.evidence if view.row else None
    return {
        "pool": pool,
        "prompt_id": view.prompt_id,
        "text": prompt.text,
        "answer": prompt.answer,
        "prompt_tokens": len(prompt.input_ids),
        "metadata": json.dumps(dict(prompt.metadata), ensure_ascii=False),
        "state": view.state,
        "visits": evidence.visits if evidence else 0,
        "success_rate": evidence.belief.mean if evidence else None,
        "informativeness": evidence.informativeness if evidence else None,
        "last_verdict": evidence.last_verdict if evidence else None,
        "reason": evidence.reason if evidence else "",
        "next_version": view.row.next_version if view.row and view.state == "waiting" else None,
        "pilots": evidence.num_pilots if evidence else 0,
        "commits": evidence.num_commits if evidence else 0,
        "tokens_per_rollout": evidence.tokens_per_rollout if evidence else 0.0,
    }


def history_row(prompt_id: str, event: Event) -> Row:
    """One event of a prompt."""
    return {
        "prompt_id": prompt_id,
        "at": event.at,
        "version": event.version,
        "what": event.what,
        "reason": event.reason,
        "pilots": event.pilots,
        "correct": event.correct,
        "visit_id": event.visit_id,
        "group_id": event.group_id,
        "step": event.step,
    }


def group_row(story: VisitStory) -> Row:
    """One visit with the group it became."""
    rollouts = [attempt for attempt in story.attempts if attempt.reward is not None]
    rewards = [attempt.reward for attempt in rollouts if attempt.reward is not None]
    stages = [attempt.stage for attempt in rollouts]
    ending, group = story.ending, story.group_ending
    return {
        "visit_id": story.visit_id,
        "prompt_id": story.prompt_id,
        "is_group": ending is not None and ending.what == "published",
        "status": story.status,
        "verdict": ending.what if ending else None,
        "reason": ending.reason if ending else None,
        "ended_at": ending.at if ending else None,
        "version": ending.version if ending else None,
        "group_end": group.what if group else None,
        "group_ended_at": group.at if group else None,
        "step": group.step if group else story.batch_step,
        "attempts": len(story.attempts),
        "pilots": stages.count(Stage.PILOT),
        "commits": stages.count(Stage.COMMIT),
        "correct": sum(bool(attempt.correct) for attempt in rollouts),
        "mean_reward": sum(rewards) / len(rewards) if rewards else None,
        "tokens": sum(attempt.tokens for attempt in rollouts),
        "oldest_version": min((a.oldest_version for a in rollouts if a.oldest_version is not None), default=None),
        "newest_version": max((a.newest_version for a in rollouts if a.newest_version is not None), default=None),
    }


def completion_row(story: VisitStory, attempt: Attempt, text: str | None) -> Row:
    """One attempt with what it answered."""
    return {
        "rid": attempt.rid,
        "visit_id": story.visit_id,
        "prompt_id": story.prompt_id,
        "stage": attempt.stage,
        "status": attempt.status,
        "server": attempt.server,
        "oldest_version": attempt.oldest_version,
        "newest_version": attempt.newest_version,
        "tokens": attempt.tokens,
        "reward": attempt.reward,
        "correct": attempt.correct,
        "finish_reason": attempt.finish_reason,
        "reason": attempt.reason,
        "text": text,
    }
