"""The dashboard *Learning*: whether the policy gets better, and whether its training is sound."""

from deploy.grafana.board import Board, Look, Panel, Query, Row, now, per_second, recorded

_PROGRESS = Row(
    title="Progress",
    panels=(
        Panel(
            title="Accuracy",
            description="Of the newest evaluation of each held-out pool: right answers, or the probability of the "
            "reference answer (likelihood).",
            unit="percentunit",
            queries=(Query(now("evaluation_accuracy", "pool", "measure"), "{{pool}} ({{measure}})"),),
            width=12,
            missing="no evaluation yet",
        ),
        Panel(
            title="Weight version evaluated",
            description="Which weights that accuracy is of.",
            unit="short",
            queries=(Query(now("evaluation_weight_version", "pool", "measure"), "{{pool}} ({{measure}})"),),
            width=6,
            missing="no evaluation yet",
        ),
        Panel(
            title="Pilots that are right",
            description="Before any selection, so far: a rough accuracy on the training pool, without the cost of an "
            "evaluation.",
            unit="percentunit",
            queries=(Query(now("pilot_success_rate"), "right"),),
            width=6,
        ),
        Panel(
            title="Training steps",
            description="Applied by the learner, and saved. What lies between is lost if the learner dies, and made "
            "again.",
            unit="short",
            queries=(Query(now("steps", "reached"), "{{reached}}"),),
        ),
        Panel(
            title="Groups trained",
            description="In a step that is saved.",
            unit="short",
            queries=(Query(now("trained_groups_total"), "trained"),),
        ),
        Panel(
            title="State of the run",
            description="1 for the state it is in.",
            unit="short",
            queries=(Query(now("run_state", "state"), "{{state}}"),),
            look=Look.STACKED,
        ),
    ),
)

_OPTIMISATION = Row(
    title="Optimisation",
    panels=(
        Panel(
            title="Loss",
            description="Of the last step, averaged over tokens. Its level says little with policy gradients; jumps "
            "do.",
            unit="short",
            queries=(Query(now("learner_loss"), "loss"),),
        ),
        Panel(
            title="Gradient norm",
            description="Before clipping, of the last step.",
            unit="short",
            queries=(Query(now("learner_grad_norm"), "norm"),),
        ),
        Panel(
            title="Learning rate",
            description="Of the last update.",
            unit="sci",
            queries=(Query(now("learner_learning_rate"), "learning rate"),),
        ),
        Panel(
            title="Optimiser updates a second",
            description="By whether the gradient was clipped.",
            unit="cps",
            queries=(Query(per_second("learner_updates_total", "clipped"), "clipped: {{clipped}}"),),
            look=Look.STACKED,
        ),
        Panel(
            title="Groups received",
            description="So far: mixed, uniform (their advantages are all zero), refused as too stale.",
            unit="short",
            queries=(Query(now("learner_groups_total", "fate"), "{{fate}}"),),
            look=Look.STACKED,
        ),
        Panel(
            title="Uniform groups",
            description="Share of what the learner received in the last half hour: rollouts that taught nothing.",
            unit="percentunit",
            queries=(Query(recorded("uniform_groups:ratio_rate30m"), "uniform"),),
        ),
    ),
)

_OFF_POLICY = Row(
    title="Off-policy",
    panels=(
        Panel(
            title="Mismatch of log-probs",
            description="Mean absolute difference between servers and learner on the tokens trained, in nats. Some "
            "hundredths are numeric types; more is other weights.",
            unit="short",
            queries=(Query(now("learner_mismatch_mean"), "mismatch"),),
        ),
        Panel(
            title="KL divergence",
            description="Estimated, of the servers' policy from the learner's, in nats a token.",
            unit="short",
            queries=(Query(now("learner_kl_mean"), "KL"),),
        ),
        Panel(
            title="Probability ratio",
            description="Mean over the tokens trained.",
            unit="short",
            queries=(Query(now("learner_ratio_mean"), "ratio"),),
        ),
        Panel(
            title="Tokens stopped by a clip",
            description="Share of the tokens trained, and of those whose importance weight was truncated.",
            unit="percentunit",
            queries=(
                Query(now("learner_clipped_high_rate"), "upper clip"),
                Query(now("learner_clipped_low_rate"), "lower clip"),
                Query(now("learner_clipped_dual_rate"), "dual clip"),
                Query(now("learner_capped_rate"), "truncated"),
            ),
        ),
        Panel(
            title="Published groups by staleness",
            description="Weight versions behind, of the groups that wait for the learner.",
            unit="short",
            queries=(Query(now("published_groups", "staleness"), "{{staleness}} behind"),),
            look=Look.STACKED,
            missing="none",
        ),
        Panel(
            title="What the learner reported",
            description="Every number of its last step, as it told the scheduler.",
            unit="short",
            queries=(Query(now("learner", "stat"), "{{stat}}"),),
            look=Look.BARS,
        ),
    ),
)

_SPEED = Row(
    title="Speed of the learner",
    panels=(
        Panel(
            title="Where its time goes",
            description="Seconds a second, by part of the work; what is missing to 1 it waits for groups.",
            unit="percentunit",
            queries=(Query(per_second("learner_seconds_total", "part"), "{{part}}"),),
            look=Look.STACKED,
            width=12,
        ),
        Panel(
            title="Tokens computed a second",
            description="Over ten minutes; each prompt of a group counts once.",
            unit="cps",
            queries=(Query(recorded("learner_tokens:rate10m"), "{{kind}}"),),
            look=Look.STACKED,
            width=12,
        ),
    ),
)

LEARNING = Board(
    name="learning",
    title="Pilotcommit: learning",
    description="Accuracy, optimisation and off-policy measures of a run, and the speed of its learner.",
    rows=(_PROGRESS, _OPTIMISATION, _OFF_POLICY, _SPEED),
)
