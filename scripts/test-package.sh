#!/bin/bash
# Takes the package of this machine's architecture through its life in a fresh copy of this machine's release: installs it, upgrades it
# from a lower version, works with it, removes and purges it. `test-package.sh`; needs root and the network, and leaves nothing behind.
#
# Before that, it builds the packages twice, in two directories, and wants the same bytes; REPRODUCE=no leaves the second build out.
# The package for arm64 is unpacked, and its programs run under qemu.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
arch=$(dpkg --print-architecture)
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")

fail() {
    printf 'test-package: %s\n' "$*" >&2
    exit 1
}
step() { printf '==> %s\n' "$*"; }

[ "$(id -u)" = 0 ] || fail "only root can make a Debian to try it in"
# Mounts and processes of its own: both end with this, however it ends.
[ "${1:-}" = --apart ] || exec unshare --mount --pid --fork --kill-child --mount-proc -- "$0" --apart
scripts/setup.sh debootstrap:debootstrap lintian:lintian qemu-aarch64-static:qemu-user-static sqlite3:sqlite3
work=$(mktemp -d)
root=$work/root
cleanup() {
    umount --lazy "$root"/{proc,dev/pts} 2>/dev/null || true
    rm -rf --one-file-system "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step "the packages"
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
scripts/package.sh amd64 arm64
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)-1
cargo build --release --locked --quiet -p local-fleet

if [ "${REPRODUCE:-yes}" = yes ]; then
    step "the same packages from another directory"
    mkdir -p "$work/elsewhere/target"
    git ls-files -z | tar --create --null --files-from - | tar --extract --directory "$work/elsewhere"
    ln -s "$PWD/target/tools" "$work/elsewhere/target/tools"
    (cd "$work/elsewhere" && scripts/package.sh amd64 arm64)
    for each in amd64 arm64; do
        cmp "dist/pipeline_${version}_$each.deb" "$work/elsewhere/dist/pipeline_${version}_$each.deb" || fail "the package for $each has other bytes"
    done
    rm -rf "$work/elsewhere"
fi

step "what lintian says"
lintian --tag-display-limit 0 --fail-on error "dist/pipeline_${version}_amd64.deb" "dist/pipeline_${version}_arm64.deb"

step "the package for arm64"
dpkg-deb --extract "dist/pipeline_${version}_arm64.deb" "$work/arm64"
for program in pipeline keytool; do
    run=(qemu-aarch64-static -L target/package/libraries-arm64 "$work/arm64/usr/bin/$program")
    [ "$("${run[@]}" --version)" = "$program ${version%-*}" ] || fail "$program for arm64 does not say its version"
    "${run[@]}" manual "$work/manual"
done
find "$work/manual" -name '*.[15]' | while read -r page; do
    zcat "$work/arm64/usr/share/${page#"$work/manual/"}.gz" | cmp - "$page" || fail "another manual comes from arm64: $page"
done

step "a fresh $suite"
debootstrap --variant=minbase "$suite" "$root" >"$work/debootstrap.log" || fail "debootstrap failed: $(tail -n 3 "$work/debootstrap.log")"
echo "127.0.0.1 localhost" >"$root/etc/hosts"
mount -t proc proc "$root/proc"
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts "$root/dev/pts"
cp "dist/pipeline_${version}_$arch.deb" "$root/tmp/new.deb"
# One of before, with another example.
dpkg-deb --raw-extract "$root/tmp/new.deb" "$work/old"
sed -i "s/^Version: .*/Version: 0.0.1-1/" "$work/old/DEBIAN/control"
echo "# of before" >>"$work/old/etc/pipeline/pipeline.yaml.example"
dpkg-deb --root-owner-group -Znone --build "$work/old" "$root/tmp/old.deb" >/dev/null
inside() { chroot "$root" "$@"; }
as_user() { inside runuser -u pipeline -- env --chdir=/var/lib/pipeline HOME=/var/lib/pipeline "$@"; }
# As upgrades without a person do it: where somebody has changed a conffile, that one stays.
get() { inside apt-get install -qq -y --no-install-recommends -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@" </dev/null >>"$work/apt.log" 2>&1 || fail "apt: $(tail -n 5 "$work/apt.log")"; }
timers="pipeline-sync.timer pipeline-verify.timer"

step "install"
inside apt-get update -qq
get /tmp/old.deb
as_user pipeline --version
as_user keytool --version
[ "$(inside stat -c '%U:%G %a' /var/lib/pipeline /var/lib/pipeline/.ssh | tr '\n' ' ')" = "pipeline:pipeline 750 pipeline:pipeline 700 " ] ||
    fail "the user's home is not as it should be"
for timer in $timers; do
    [ "$(inside systemctl is-enabled "$timer" || true)" = disabled ] || fail "$timer was enabled"
done
[ ! -e "$root/etc/pipeline/pipeline.yaml" ] || fail "there is a configuration that nobody wrote"
[[ $(inside dpkg-query --show --showformat '${Conffiles}' pipeline) == *" /etc/pipeline/pipeline.yaml.example "* ]] || fail "the example is no conffile"
for page in man1/pipeline.1 man1/pipeline-sync.1 man1/keytool-add-pi.1 man5/pipeline.yaml.5; do
    [ -s "$root/usr/share/man/$page.gz" ] || fail "there is no manual page $page"
done
for completion in bash-completion/completions/NAME zsh/vendor-completions/_NAME fish/vendor_completions.d/NAME.fish; do
    for program in pipeline keytool; do
        [ -s "$root/usr/share/${completion/NAME/$program}" ] || fail "there is no ${completion/NAME/$program}"
    done
done
inside systemd-analyze verify --man=no /usr/lib/systemd/system/pipeline-{sync,verify}.{service,timer} || fail "systemd does not understand the units"

step "what an administrator adds"
cat >"$root/etc/pipeline/pipeline.yaml" <<YAML
hosts: ["raspberry[1-4]"]
source: /home/pi/beephotos
storage: /srv/storage
state_dir: /var/lib/pipeline
YAML
echo "# mine" >>"$root/etc/pipeline/pipeline.yaml.example"
inside systemctl enable --quiet pipeline-sync.timer
catalog=$root/var/lib/pipeline/catalog.db
sqlite3 "$catalog" <crates/pipeline-core/tests/data/catalog-v1.sql
inside chown pipeline: /var/lib/pipeline/catalog.db
echo key >"$root/var/lib/pipeline/.ssh/id_ed25519"
files="SELECT id, hex(path), hex(sha256), hex(archive_path), ifnull(removed_ns, 'there') FROM file ORDER BY id"
before=$(sqlite3 "$catalog" "$files")
layout() { sqlite3 "$catalog" "PRAGMA user_version"; }

# Each thing that is nobody's to take away.
kept() {
    grep -q '^storage: /srv/storage$' "$root/etc/pipeline/pipeline.yaml" || fail "$1 has changed the configuration"
    [ "$(sqlite3 "$catalog" "$files")" = "$before" ] || fail "$1 has changed the catalog"
    [ "$(cat "$root/var/lib/pipeline/.ssh/id_ed25519")" = key ] || fail "$1 has changed the key"
    inside id pipeline >/dev/null || fail "$1 has taken the user away"
}

step "upgrade, with a catalog of layout $(layout)"
get /tmp/new.deb
[ "$(inside dpkg-query --show --showformat '${Version}' pipeline)" = "$version" ] || fail "the upgrade was none"
kept "the upgrade"
[ "$(layout)" = 1 ] || fail "the upgrade itself has changed the catalog"
grep -q '^# mine$' "$root/etc/pipeline/pipeline.yaml.example" || fail "the upgrade has overwritten a changed conffile"
cmp "$root/etc/pipeline/pipeline.yaml.example.dpkg-dist" examples/pipeline.yaml || fail "the upgrade has not put the new example beside it"
[ "$(inside systemctl is-enabled $timers | tr '\n' ' ')" = "enabled disabled " ] || fail "the upgrade has enabled or disabled a timer"

step "the first command"
as_user pipeline history
kept "the new layout"
[ "$(layout)" -gt 1 ] || fail "the catalog is still of layout $(layout)"

step "the demo's fleet, synced by what is installed"
get openssh-server
# The demo takes the programs beside it, which are those that are installed.
install -D -m 755 -t "$root/opt/demo" target/release/local-fleet
ln -s /usr/bin/pipeline "$root/opt/demo/pipeline"
ln -s "/usr/lib/pipeline/agents/pipeline-agent-$(uname -m)" "$root/opt/demo/pipeline-agent"
# Its Pis are sshds for whoever starts it, and need a shell, which the user pipeline has not.
inside useradd --create-home --shell /bin/bash somebody
inside runuser --login somebody --command "/opt/demo/local-fleet demo" >"$work/demo.log" 2>&1 || fail "the demo failed: $(tail -n 20 "$work/demo.log")"
grep '✓' "$work/demo.log"
for machine in x86_64 aarch64 armv7l; do
    grep -q "agents for [^;]*$machine" "$work/demo.log" || fail "the installed program finds no agent for $machine"
done
agent=$(sha256sum "$root/usr/lib/pipeline/agents/pipeline-agent-$(uname -m)")
grep -q "agent installed: pipeline-agent-.*${agent:0:12}" "$work/demo.log" || fail "the devices have not got the installed agent"
rm -r "$root/opt/demo"

step "remove"
inside apt-get remove -qq -y pipeline >>"$work/apt.log" 2>&1
kept "the removal"
[ ! -e "$root/usr/bin/pipeline" ] || fail "the removal has left a program"

step "purge"
said=$(inside apt-get purge -qq -y pipeline 2>&1)
grep '^pipeline: ' <<<"$said" || fail "the purge does not say what it keeps: $said"
kept "the purge"
[ "$(ls "$root/etc/pipeline")" = pipeline.yaml ] || fail "the purge has left an example: $(ls "$root/etc/pipeline")"
left=$(find "$root/etc/systemd" "$root/var/lib/systemd" -name 'pipeline-*')
[ -z "$left" ] || fail "the purge has left $left"
echo "test-package: all well"
