#!/bin/sh
# Makes the tokens and passwords of a deployment, each in a folder of its own, and only those that are not there yet.
set -eu
umask 027
tokens=/secrets/scheduler/tokens.ndjson

token() {
  name=$1 && shift
  file="/secrets/$name/${name}_token"
  if [ -s "$file" ]; then return; fi
  # One whose text was never written down is of no use to anybody.
  pilotcommit token revoke "$name" --file "$tokens" 2>/dev/null || true
  # What it says goes to the standard error: how to use a token, which is done here, or why there is none.
  said=$(pilotcommit token create "$name" "$@" --file "$tokens" 2>&1 >"$file") || { echo "$said" >&2; exit 1; }
  echo "made a token for the $name"
}

token learner --scope learn
token prometheus --scope read
token operator --scope submit --scope operate
password=/secrets/grafana/grafana_password
if [ ! -s "$password" ]; then
  python -c 'import secrets; print(secrets.token_urlsafe(24), end="")' >"$password"
  echo "made a password for Grafana's admin"
fi
