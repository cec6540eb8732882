#!/bin/bash
# A restore by the documented shell pipeline. What it works on is in the environment.
set -euo pipefail

mkdir -p "$RESTORE" "$BITBUCKET_HOME"
tar --extract --gzip --file="$ARCHIVES/backup.tar.gz" --directory="$RESTORE"
pg_restore --no-password --create --format=directory --jobs=5 --dbname=postgres "$RESTORE/bitbucket-db"
rsync -a "$RESTORE/bitbucket-home/" "$BITBUCKET_HOME/"
