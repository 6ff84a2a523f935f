"""Dashboards as Grafana reads them, made with its own builders.

Owns: Grafana's format: layout, variables, links. Never says what is shown. Invariant: everything goes through typed
builders, so that what Grafana's schema does not have fails the type checker or the test of the round trip.
"""

import json

from grafana_foundation_sdk.builders import bargauge, common, dashboard, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from deploy.grafana.board import Board, Look, Panel, Query

TAG = "pilotcommit"
_PROMETHEUS = common_models.DataSourceRef(type_val="prometheus", uid="${datasource}")
_AnyPanel = timeseries.Panel | stat.Panel | bargauge.Panel | heatmap.Panel
_HEIGHT, _NUMBER_HEIGHT = 8, 4
_STACK_OPACITY, _LINE_OPACITY = 40, 0


def drawn(board: Board) -> str:
    """The dashboard as the text of its file."""
    drawing = _dashboard(board).build()
    # By their place; without numbers of their own all rows would be number 0.
    for number, panel in enumerate(drawing.panels or (), start=1):
        panel.id_val = number
    return _text(drawing)


def read_back(text: str) -> str:
    """The text of a dashboard after Grafana's types have read and written it: what they do not know is lost."""
    return _text(models.Dashboard.from_json(json.loads(text)))


def _text(drawing: models.Dashboard) -> str:
    return JSONEncoder(sort_keys=True, indent=2).encode(drawing) + "\n"


def _dashboard(board: Board) -> dashboard.Dashboard:
    drawing = (
        dashboard.Dashboard(board.title)
        .uid(f"pilotcommit-{board.name}")
        .description(board.description)
        .tags([TAG])
        .readonly()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .timezone("browser")
        .refresh("30s")
        .link(_links())
    )
    for variable in _variables():
        drawing = drawing.with_variable(variable)
    for row in board.rows:
        drawing = drawing.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            drawing = drawing.with_panel(_panel(panel))
    return drawing


def _links() -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink("Pilotcommit")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .include_vars(True)
        .keep_time(True)
    )


def _variables() -> list[Builder[models.VariableModel]]:
    source = dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
    pool = (
        _labels("pool", "label_values(pilotcommit_run_info, pool)")
        .label("Pool")
        .description("Shows the runs over these pools")
        .include_all(True)
        .all_value(".+")
        .multi(True)
    )
    run = _labels("run", 'label_values(pilotcommit_run_info{pool=~"$pool"}, run)').label("Run")
    return [source, pool, run]


def _labels(name: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .query(query)
        .datasource(_PROMETHEUS)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )


def _panel(panel: Panel) -> _AnyPanel:
    drawing: _AnyPanel
    match panel.look:
        case Look.LINES:
            drawing = _over_time().fill_opacity(_LINE_OPACITY)
        case Look.STACKED:
            stacking = common.StackingConfig().mode(common_models.StackingMode.NORMAL)
            drawing = _over_time().fill_opacity(_STACK_OPACITY).stacking(stacking)
        case Look.NUMBER:
            drawing = stat.Panel().reduce_options(_newest()).color_mode(common_models.BigValueColorMode.NONE)
        case Look.BARS:
            drawing = bargauge.Panel().reduce_options(_newest()).orientation(common_models.VizOrientation.HORIZONTAL)
        case Look.HISTOGRAM:
            drawing = heatmap.Panel()
    drawing = (
        drawing.title(panel.title)
        .description(panel.description)
        .unit(panel.unit)
        .no_value(panel.missing)
        .datasource(_PROMETHEUS)
        .height(_NUMBER_HEIGHT if panel.look is Look.NUMBER else _HEIGHT)
        .span(panel.width)
    )
    for number, query in enumerate(panel.queries):
        drawing = drawing.with_target(_target(query, panel.look, chr(ord("A") + number)))
    return drawing


def _over_time() -> timeseries.Panel:
    legend = (
        common.VizLegendOptions()
        .display_mode(common_models.LegendDisplayMode.LIST)
        .placement(common_models.LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    tooltip = common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI)
    return timeseries.Panel().legend(legend).tooltip(tooltip).line_width(1)


def _newest() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"])


def _target(query: Query, look: Look, ref: str) -> prometheus.Dataquery:
    target = prometheus.Dataquery().ref_id(ref).expr(query.expr).legend_format(query.legend).datasource(_PROMETHEUS)
    if look is Look.HISTOGRAM:
        target = target.format(PromQueryFormat.HEATMAP)
    return target.instant() if look in (Look.NUMBER, Look.BARS) else target.range()
