"""What it takes to run and watch the service elsewhere: Prometheus rules, Grafana dashboards. Nothing imports it."""
