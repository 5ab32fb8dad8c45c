#!/bin/sh
# Install Debian packages that are missing. Where that is not allowed, say so and go on: tests then skip by name.
set -u
missing=""
for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "install ok installed" || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" -eq 0 ]; then as_root=""; elif command -v sudo >/dev/null 2>&1; then as_root="sudo -n"; else as_root="false"; fi
echo "installing:$missing"
# A machine without network answers soon, and another package manager at work is waited for.
apt="env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=0 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 -o DPkg::Lock::Timeout=120"
# Debian would start a system-wide Orthanc and PostgreSQL; tests start their own, so keep these from starting.
policy=/usr/sbin/policy-rc.d
made=""
put_back() { if [ -n "$made" ]; then $as_root rm -f "$policy"; fi; }
trap put_back EXIT
trap 'exit 1' INT TERM
if [ ! -e "$policy" ] && printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null 2>&1; then
    made=1
    $as_root chmod +x "$policy"
fi
$as_root $apt update
failed=""
# One by one: a release that lacks one of them still gets the others.
for package in $missing; do
    $as_root $apt install -y --no-install-recommends "$package" >/dev/null || failed="$failed $package"
done
if [ -n "$failed" ]; then
    echo "could not install$failed (no permission, no network, or not in this release): what needs them is skipped by name" >&2
    [ -n "${CI:-}" ] && exit 1
fi
exit 0
