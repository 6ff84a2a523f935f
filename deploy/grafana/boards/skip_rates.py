"""The dashboard *Skip rates*: which prompts get a group, which do not and why, and how much is left to learn."""

from deploy.grafana.board import Board, Look, Panel, Query, Row, now, per_second, recorded, summed

_AT_A_GLANCE = Row(
    title="At a glance",
    panels=(
        Panel(
            title="Skip rate",
            description="Prompts considered and not committed ÷ prompts considered, so far.",
            unit="percentunit",
            queries=(Query(summed(now("skip_rate", "verdict")), "skipped"),),
            look=Look.NUMBER,
            width=4,
        ),
        Panel(
            title="Skip rate by verdict",
            description="So far: too easy now (skip), too hard now (defer), solved (evict).",
            unit="percentunit",
            queries=(Query(now("skip_rate", "verdict"), "{{verdict}}"),),
            look=Look.BARS,
            width=6,
        ),
        Panel(
            title="Pilots that are right",
            description="Before any selection: how hard the pool is for the policy.",
            unit="percentunit",
            queries=(Query(now("pilot_success_rate"), "right"),),
            look=Look.NUMBER,
            width=4,
        ),
        Panel(
            title="Prompts considered",
            description="Claimed, or passed over by their history. A prompt counts again at every turn it gets.",
            unit="short",
            queries=(Query(now("considered_prompts_total"), "considered"),),
            look=Look.NUMBER,
            width=4,
        ),
        Panel(
            title="Revisits that changed verdict",
            description="Of the prompts judged before, those judged otherwise this time: how fast the table ages.",
            unit="percentunit",
            queries=(Query(recorded("revisits_changed:ratio"), "changed"),),
            look=Look.NUMBER,
            width=6,
            missing="no revisit yet",
        ),
    ),
)

_VERDICTS = Row(
    title="Verdicts",
    panels=(
        Panel(
            title="Skip rate over time",
            description="Of the prompts considered in the last ten minutes.",
            unit="percentunit",
            queries=(Query(recorded("skip_rate:ratio_rate10m"), "{{verdict}}"),),
            look=Look.STACKED,
            width=12,
        ),
        Panel(
            title="Verdicts by reason",
            description="A second: the rule's own words for what it saw in the pilots.",
            unit="cps",
            queries=(Query(per_second("verdict_reasons_total", "verdict", "reason"), "{{verdict}}: {{reason}}"),),
            look=Look.STACKED,
            width=12,
        ),
        Panel(
            title="Verdicts by what they rest on",
            description="A second: on pilots, or on history alone, which costs nothing.",
            unit="cps",
            queries=(Query(per_second("verdicts_total", "verdict", "basis"), "{{verdict}} by {{basis}}"),),
        ),
        Panel(
            title="Visits without a verdict",
            description="So far, by how they ended: lost, expired, cancelled, surplus, quarantined.",
            unit="short",
            queries=(Query(now("interrupted_visits_total", "end"), "{{end}}"),),
            missing="none",
        ),
        Panel(
            title="Incomplete groups",
            description="So far, by what became of them: refilled, accepted as they were, cut, dropped.",
            unit="short",
            queries=(Query(now("incomplete_groups_total", "end"), "{{end}}"),),
        ),
    ),
)

_TABLE = Row(
    title="Informativeness table",
    panels=(
        Panel(
            title="Informativeness of visited prompts",
            description="The reward variance expected of each now, its evidence aged to the present weights; at most "
            "0.25 where rewards are right or wrong. Estimated from a thousand prompts.",
            unit="short",
            queries=(Query(now("informativeness_prompts", "le"), "{{le}}"),),
            look=Look.HISTOGRAM,
            width=12,
        ),
        Panel(
            title="Informativeness: median and quartiles",
            description="Of the visited prompts. When all sink the pool is nearly used up.",
            unit="short",
            queries=tuple(
                Query(f"histogram_quantile({rate}, {now('informativeness_prompts', 'le')})", legend)
                for rate, legend in ((0.25, "lower quartile"), (0.5, "median"), (0.75, "upper quartile"))
            ),
            width=12,
        ),
        Panel(
            title="Prompts by state",
            description="Waiting ones return at a weight version; quarantined ones do when an operator says so.",
            unit="short",
            queries=(Query(now("prompts", "state"), "{{state}}"),),
            look=Look.STACKED,
        ),
        Panel(
            title="Revisits that changed verdict",
            description="So far, by the verdict before and the new one.",
            unit="short",
            queries=(
                Query(now("revisits_total", "before", "verdict", where='changed="true"'), "{{before}} → {{verdict}}"),
            ),
        ),
        Panel(
            title="Pilots a second",
            description="Judged, and right among them.",
            unit="cps",
            queries=(
                Query(per_second("judged_pilots_total"), "judged"),
                Query(per_second("correct_pilots_total"), "right"),
            ),
        ),
    ),
)

SKIP_RATES = Board(
    name="skip-rates",
    title="Pilotcommit: skip rates",
    description="Verdicts of a run by reason over time, its informativeness table, and revisits that changed verdict.",
    rows=(_AT_A_GLANCE, _VERDICTS, _TABLE),
)
