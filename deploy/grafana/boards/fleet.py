"""The dashboard *Fleet*: which servers serve, with which weights, how loaded, and what goes wrong with them."""

from deploy.grafana.board import Board, Look, Panel, Query, Row, now, per_second, recorded, summed

_LOST = 'outcome=~"lost|failed|cancelled|expired"'

_SERVERS = Row(
    title="Servers",
    panels=(
        Panel(
            title="Ready servers",
            description="They hold confirmed weights and take requests.",
            unit="short",
            queries=(Query("pilotcommit:servers_ready:count", "ready"),),
            look=Look.NUMBER,
            width=4,
        ),
        Panel(
            title="Utilisation",
            description="Attempts in flight ÷ what the ready servers keep up with.",
            unit="percentunit",
            queries=(Query("pilotcommit:fleet_utilisation:ratio", "used"),),
            look=Look.NUMBER,
            width=4,
            missing="no server is ready",
        ),
        Panel(
            title="Servers by state",
            description="Only healthy ones are sent attempts. With a standby: of the scheduler at work, whose view is "
            "the better one.",
            unit="short",
            queries=(
                Query('max by (state) (pilotcommit_servers{state="healthy"})', "{{state}}"),
                Query('min by (state) (pilotcommit_servers{state!="healthy"})', "{{state}}"),
            ),
            look=Look.STACKED,
        ),
        Panel(
            title="Ready, by server",
            description="1 while a server takes requests.",
            unit="short",
            queries=(Query("max by (server) (pilotcommit_server_ready)", "{{server}}"),),
        ),
    ),
)

_LOAD = Row(
    title="Load",
    panels=(
        Panel(
            title="Attempts in flight, by server",
            description="Sent and not yet answered.",
            unit="short",
            queries=(Query("max by (server) (pilotcommit_server_in_flight_attempts)", "{{server}}"),),
        ),
        Panel(
            title="Capacity, by server",
            description="Attempts that each may have in flight, as its queue and KV cache allow now.",
            unit="short",
            queries=(Query("max by (server) (pilotcommit_server_capacity_attempts)", "{{server}}"),),
        ),
        Panel(
            title="Requests running and queued, by server",
            description="As SGLang says (--enable-metrics). A queue that stays long means more servers, or fewer "
            "attempts each.",
            unit="short",
            queries=(
                Query("sum by (instance) (sglang_num_running_reqs)", "{{instance}} running"),
                Query("sum by (instance) (sglang_num_queue_reqs)", "{{instance}} queued"),
            ),
        ),
        Panel(
            title="KV cache in use, by server",
            description="As SGLang says. Near 1 it retracts requests and prefills them again.",
            unit="percentunit",
            queries=(Query("max by (instance) (sglang_token_usage)", "{{instance}}"),),
        ),
        Panel(
            title="Tokens a second, by server",
            description="Generated, as SGLang counts them: those of aborted requests too.",
            unit="cps",
            queries=(
                Query(
                    "sum by (instance) (rate(sglang_generation_tokens_total[$__rate_interval]))",
                    "{{instance}}",
                ),
            ),
        ),
        Panel(
            title="Attempts a second",
            description="Made by the run that is looked at.",
            unit="cps",
            queries=(Query(recorded("rollouts:rate10m"), "{{stage}}"),),
            look=Look.STACKED,
        ),
    ),
)

_WEIGHTS = Row(
    title="Weights",
    panels=(
        Panel(
            title="Weight versions",
            description="Of the learner's policy, live on the fleet, and confirmed on each server."
            " They should keep step.",
            unit="short",
            queries=(
                Query(now("weight_version", "of"), "{{of}}"),
                Query("max by (server) (pilotcommit_server_weight_version)", "{{server}}"),
            ),
            width=12,
        ),
        Panel(
            title="Published groups by staleness",
            description="Groups the learner has not stepped on, by weight versions behind. Those at the run's limit "
            "are the next to expire.",
            unit="short",
            queries=(Query(now("published_groups", "staleness"), "{{staleness}} behind"),),
            look=Look.STACKED,
            width=12,
            missing="none",
        ),
    ),
)

_TROUBLE = Row(
    title="Trouble",
    panels=(
        Panel(
            title="Attempts that came to nothing",
            description="A second: lost with a server, failed, cancelled, expired.",
            unit="cps",
            queries=(
                Query(
                    summed(per_second("ended_attempts_total", "stage", "outcome", where=_LOST), "outcome"),
                    "{{outcome}}",
                ),
            ),
            look=Look.STACKED,
        ),
        Panel(
            title="Attempts called back",
            description="So far: too stale for any batch, or stragglers.",
            unit="short",
            queries=(Query(now("recalled_attempts_total", "reason"), "{{reason}}"),),
        ),
        Panel(
            title="Breaker",
            description="1 for the state it is in. Open: the run claims nothing because too many attempts are lost or "
            "fail.",
            unit="short",
            queries=(Query(now("breaker", "state"), "{{state}}"),),
            look=Look.STACKED,
        ),
        Panel(
            title="Trips of the breaker",
            description="So far, by what failed: infrastructure (servers) or data (rewards, prompts).",
            unit="short",
            queries=(Query(now("breaker_trips_total", "failure"), "{{failure}}"),),
        ),
        Panel(
            title="Standing still",
            description="Seconds since a visit ended or new weights came. A long training step shows here too.",
            unit="s",
            queries=(Query(now("idle_seconds"), "idle"),),
            missing="no engine at work",
        ),
        Panel(
            title="Ledger",
            description="1 if every attempt is accounted for.",
            unit="short",
            queries=(Query('min(pilotcommit_ledger_balanced{run="$run"})', "balanced"),),
            look=Look.NUMBER,
        ),
    ),
)

FLEET = Board(
    name="fleet",
    title="Pilotcommit: fleet",
    description="SGLang servers: state, load, weights, and what goes wrong.",
    rows=(_SERVERS, _LOAD, _WEIGHTS, _TROUBLE),
)
