#!/bin/sh
# Holds the documents to the code: CONTRIBUTING.md lists exactly the dependencies of the workspace, every test that
# the documents name exists, and every relative link leads to a file.
set -eu
cd "$(dirname "$0")/.."
status=0
complain() {
    printf 'check-docs: %s\n' "$*" >&2
    status=1
}

# The table's rows begin "| `name`"; one row may hold several names.
listed=$(sed -n '/^## Dependencies/,/^## /p' CONTRIBUTING.md | sed -n 's/^| \(`[^|]*`\) *|.*/\1/p' | grep -o '`[^`]*`' | tr -d '`' | sort)
used=$(awk '/^\[/ { inside = $0 == "[workspace.dependencies]" } inside && /^[a-z]/ && !/path = / { print $1 }' Cargo.toml | sort)
[ -n "$used" ] && [ -n "$listed" ] || complain "found no dependencies to compare"
for name in $used; do
    printf '%s\n' "$listed" | grep -qx "$name" || complain "CONTRIBUTING.md does not say what $name is for"
done
for name in $listed; do
    printf '%s\n' "$used" | grep -qx "$name" || complain "CONTRIBUTING.md lists $name, which the workspace does not use"
done

# A test is named as `test` in the last column of the invariants, and anywhere in the documents as `module::a_test_of_this_form`.
held=$(sed -n '/^## Invariants/,$s/^| I[0-9] .*|\([^|]*\)| *$/\1/p' ARCHITECTURE.md)
[ "$(printf '%s\n' "$held" | grep -c '`')" = 8 ] || complain "ARCHITECTURE.md does not name a test for each of its 8 invariants"
tests=$(
    printf '%s\n' "$held" | grep -o '`[^`]*`'
    git ls-files '*.md' | xargs grep -hoE '`[a-z_]+::[a-z0-9]+(_[a-z0-9]+){2,}`'
)
for name in $(printf '%s\n' "$tests" | tr -d '`' | sort -u); do
    files=$(git grep -lwE "fn ${name##*::}" -- 'crates/*.rs') || complain "no test is called $name"
    case $name in *::*)
        printf '%s\n' "$files" | grep -qE "(^|[/_])${name%%::*}(\.rs|/)" || complain "no test $name in a module of that name: $files"
        ;;
    esac
done

dead=$(git ls-files '*.md' | while read -r document; do
    grep -o ']([^)#: ]*[)#]' "$document" | tr -d ']()#' | sort -u | while read -r link; do
        [ -e "$(dirname "$document")/$link" ] || echo "$document -> $link"
    done
done)
[ -z "$dead" ] || complain "links that lead nowhere: $dead"
exit "$status"
