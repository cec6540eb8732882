#!/bin/bash
# A backup by the documented shell pipeline. What it works on is in the environment.
# Lines that begin with `mark` tell how far it is.
set -euo pipefail

rest() {
    curl --silent --show-error --fail --user "$BITBUCKET_LOGIN" \
        --header 'Content-Type: application/json' --header 'Accept: application/json' "$@"
}

mark() {
    echo "mark $1"
}

copy_home() {
    # 24: a file vanished while people work.
    rsync -a --delete --delete-excluded --exclude-from="$EXCLUDES" \
        "$BITBUCKET_HOME/" "$STAGING/bitbucket-home/" || [[ $? -eq 24 ]]
}

token() {
    [[ $1 =~ \"$2\":\"([0-9a-f]+)\" ]] && echo "${BASH_REMATCH[1]}"
}

mkdir -p "$STAGING/bitbucket-home" "$ARCHIVES"
rm -rf "$STAGING/bitbucket-db"
copy_home

unlock=$(token "$(rest --request POST "$BITBUCKET_URL/mvc/maintenance/lock")" unlockToken)
rest --request POST --header "X-Atlassian-Maintenance-Token: $unlock" --output /dev/null \
    "$BITBUCKET_URL/mvc/admin/backups?external=true"
state=
# Without a pause: DRAINED is noticed as early as can be.
until [[ $state == *'"db-state":"DRAINED"'* && $state == *'"scm-state":"DRAINED"'* ]]; do
    state=$(rest --header "X-Atlassian-Maintenance-Token: $unlock" "$BITBUCKET_URL/mvc/maintenance")
done
mark drained

pg_dump --no-password --format=directory --jobs=5 --file="$STAGING/bitbucket-db" "$DATABASE" && mark database &
database=$!
copy_home && mark home &
home=$!
wait "$database"
wait "$home"
mark captured

rest --request POST "$BITBUCKET_URL/mvc/admin/backups/progress/client?token=$unlock&percentage=100"
rest --request DELETE "$BITBUCKET_URL/mvc/maintenance/lock?token=$unlock"

tar --create --gzip --file="$ARCHIVES/backup.tar.gz" --directory="$STAGING" .
