#!/bin/sh
# Holds the documents to the code: CONTRIBUTING.md lists exactly the dependencies of the workspace, every test that
# ARCHITECTURE.md names as holding an invariant exists, and every relative link leads to a file.
set -eu
cd "$(dirname "$0")/.."
status=0
complain() {
    printf 'check-docs: %s\n' "$*" >&2
    status=1
}

# The table's rows begin "| `name`"; one row may hold several names.
listed=$(sed -n '/^## Dependencies/,/^## /p' CONTRIBUTING.md | sed -n 's/^| \(`[^|]*`\) *|.*/\1/p' | grep -o '`[^`]*`' | tr -d '`' | sort)
used=$(awk '/^\[/ { inside = $0 == "[workspace.dependencies]" } inside && /^[a-z]/ { print $1 }' Cargo.toml | grep -v '^pipeline-' | sort)
[ -n "$used" ] && [ -n "$listed" ] || complain "found no dependencies to compare"
for name in $used; do
    printf '%s\n' "$listed" | grep -qx "$name" || complain "CONTRIBUTING.md does not say what $name is for"
done
for name in $listed; do
    printf '%s\n' "$used" | grep -qx "$name" || complain "CONTRIBUTING.md lists $name, which the workspace does not use"
done

# The table's last column holds the tests, each as `name` or `module::name`.
tests=$(sed -n '/^## Invariants/,/^## /p' ARCHITECTURE.md | sed -n 's/^| I[0-9] .*|\([^|]*\)| *$/\1/p' | grep -o '`[^`]*`' | tr -d '`' | sort -u) || true
for name in $tests; do
    grep -rqE "fn ${name##*::}\b" --include='*.rs' crates || complain "ARCHITECTURE.md names the test $name, which does not exist"
done

dead=$(git ls-files '*.md' | while read -r document; do
    grep -o ']([^)#: ]*[)#]' "$document" | tr -d ']()#' | sort -u | while read -r link; do
        [ -e "$(dirname "$document")/$link" ] || echo "$document -> $link"
    done
done)
[ -z "$dead" ] || complain "links that lead nowhere: $dead"
exit "$status"
