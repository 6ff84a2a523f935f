"""The dashboard *Spend*: what rollouts and tokens went for, what it would have cost uniformly, and what is left."""

from deploy.grafana.board import Board, Look, Panel, Query, Row, now, per_second, recorded, summed

_TRAINING = 'stage!="eval"'

_AT_A_GLANCE = Row(
    title="At a glance",
    panels=(
        Panel(
            title="Rollouts spent",
            description="Attempts made for training, pilots and commits. Evaluation has a line of its own.",
            unit="short",
            queries=(Query(now("budget_rollouts", where='part="spent"'), "spent"),),
            look=Look.NUMBER,
            width=4,
        ),
        Panel(
            title="Budget left",
            description="The smaller of what is left of the rollout and of the token budget, reservations taken off.",
            unit="percentunit",
            queries=(Query(f"min({recorded('budget_left:ratio')})", "left"),),
            look=Look.NUMBER,
            width=4,
            missing="no limit",
        ),
        Panel(
            title="Time left",
            description="Until the first of the rollout, token and wall-clock budgets runs out at the pace of the last "
            "ten minutes.",
            unit="s",
            queries=(Query(f"min({recorded('budget_left:seconds')})", "left"),),
            look=Look.NUMBER,
            width=4,
            missing="no limit",
        ),
        Panel(
            title="Saved against uniform",
            description="Share of the rollouts that whole groups on every prompt would have cost for as many mixed "
            "groups; estimated, docs/metrics.md says how. Negative: more were spent.",
            unit="percentunit",
            queries=(Query(recorded("saved_rollouts:ratio"), "saved"),),
            look=Look.NUMBER,
            width=4,
            missing="not known yet",
        ),
        Panel(
            title="Useful share",
            description="Rollouts in a step that is saved ÷ rollouts that have ended.",
            unit="percentunit",
            queries=(Query(recorded("useful_rollouts:ratio"), "trained"),),
            look=Look.NUMBER,
            width=4,
        ),
        Panel(
            title="Tokens per trained rollout",
            description="Tokens generated for training, rejected and lost ones included ÷ rollouts trained.",
            unit="short",
            queries=(Query(recorded("tokens_per_trained_rollout:ratio"), "tokens"),),
            look=Look.NUMBER,
            width=4,
        ),
    ),
)

_OUTCOMES = Row(
    title="What became of the rollouts",
    panels=(
        Panel(
            title="Rollouts by outcome",
            description="All that have ended so far. What is not trained was the price of finding what is, or went "
            "wrong: the outcome says which.",
            unit="short",
            queries=(Query(recorded("ended_rollouts:total"), "{{outcome}}"),),
            look=Look.STACKED,
            width=12,
        ),
        Panel(
            title="Rollouts a second by outcome",
            description="Over ten minutes. Trained ones come in bursts, when the learner saves.",
            unit="cps",
            queries=(Query(recorded("ended_rollouts:rate10m"), "{{outcome}}"),),
            look=Look.STACKED,
            width=12,
        ),
        Panel(
            title="Outcomes by stage",
            description="Pilots that ended skipped, deferred or evicted bought a verdict; commits should nearly all be "
            "trained.",
            unit="short",
            queries=(Query(now("ended_attempts_total", "stage", "outcome"), "{{stage}} {{outcome}}"),),
            look=Look.BARS,
        ),
        Panel(
            title="Open attempts",
            description="Asked of a server, held, waiting for the learner, or applied and not saved.",
            unit="short",
            queries=(Query(summed(now("open_attempts", "stage", "state"), "state"), "{{state}}"),),
            look=Look.STACKED,
        ),
        Panel(
            title="Useful share over time",
            description="So far, and of what ended in the last half hour.",
            unit="percentunit",
            queries=(
                Query(recorded("useful_rollouts:ratio"), "so far"),
                Query(recorded("useful_rollouts:ratio_rate30m"), "last 30 min"),
            ),
        ),
    ),
)

_PACE = Row(
    title="Pace by stage",
    panels=(
        Panel(
            title="Rollouts a second",
            description="Attempts made, by stage.",
            unit="cps",
            queries=(Query(per_second("attempts_total", "stage"), "{{stage}}"),),
            look=Look.STACKED,
        ),
        Panel(
            title="Generated tokens a second",
            description="By stage; lost and cancelled attempts at their worst case.",
            unit="cps",
            queries=(Query(per_second("generated_tokens_total", "stage"), "{{stage}}"),),
            look=Look.STACKED,
        ),
        Panel(
            title="Prompt tokens a second",
            description="Of the prompts sent, by stage; they are in no budget.",
            unit="cps",
            queries=(Query(per_second("prompt_tokens_total", "stage"), "{{stage}}"),),
            look=Look.STACKED,
        ),
    ),
)

_UNIFORM = Row(
    title="Against uniform allocation",
    panels=(
        Panel(
            title="Rollouts spent, and what uniform would have cost",
            description="Uniform: a whole group on whichever prompt comes, for as many mixed groups.",
            unit="short",
            queries=(
                Query(now("budget_rollouts", where='part="spent"'), "spent"),
                Query(now("uniform_rollouts"), "uniform"),
                Query(recorded("saved_rollouts:difference"), "saved"),
            ),
            width=12,
        ),
        Panel(
            title="Mixed groups",
            description="Published groups whose rewards differ, the only ones that teach; and groups trained.",
            unit="short",
            queries=(
                Query(now("mixed_groups_total"), "mixed"),
                Query(now("trained_groups_total"), "trained"),
            ),
            width=12,
        ),
    ),
)

_BUDGET = Row(
    title="Budget",
    panels=(
        Panel(
            title="Rollout budget",
            description="Spent, reserved by open visits at the largest group each may become, and left.",
            unit="short",
            queries=(Query(now("budget_rollouts", "part"), "{{part}}"),),
            look=Look.STACKED,
        ),
        Panel(
            title="Token budget",
            description="Reserved is at worst case: every rollout as long as it may be.",
            unit="short",
            queries=(Query(now("budget_tokens", "part"), "{{part}}"),),
            look=Look.STACKED,
        ),
        Panel(
            title="Evaluation rollouts",
            description="Their own line: no part of the training budget.",
            unit="short",
            queries=(Query(now("budget_evaluation_rollouts", "part"), "{{part}}"),),
            look=Look.STACKED,
        ),
        Panel(
            title="Budget burn",
            description="Rollouts and tokens a second, over ten minutes.",
            unit="cps",
            queries=(Query(recorded("budget_burn:rate10m"), "{{limit}}"),),
        ),
        Panel(
            title="Time left by budget",
            description="At the pace of the last ten minutes.",
            unit="s",
            queries=(Query(recorded("budget_left:seconds"), "{{limit}}"),),
        ),
        Panel(
            title="Training tokens so far",
            description="Generated by pilots and commits.",
            unit="short",
            queries=(Query(now("generated_tokens_total", "stage", where=_TRAINING), "{{stage}}"),),
            look=Look.STACKED,
        ),
    ),
)

SPEND = Board(
    name="spend",
    title="Pilotcommit: spend",
    description="Rollouts and tokens of a run by stage and outcome, what was saved against uniform allocation, and "
    "what is left of the budget.",
    rows=(_AT_A_GLANCE, _OUTCOMES, _PACE, _UNIFORM, _BUDGET),
)
