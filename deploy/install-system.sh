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
export DEBIAN_FRONTEND=noninteractive
# Debian would start a system-wide Orthanc and PostgreSQL; tests start their own, so keep these from starting.
policy=/usr/sbin/policy-rc.d
made=""
if [ -z "$as_root" ] && [ ! -e "$policy" ]; then printf '#!/bin/sh\nexit 101\n' > "$policy" && chmod +x "$policy" && made=1; fi
# shellcheck disable=SC2086
$as_root apt-get update -qq && $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
status=$?
[ -n "$made" ] && rm -f "$policy"
if [ $status -ne 0 ]; then
    echo "could not install$missing (no permission or no network): the tests that need them will be skipped by name" >&2
    [ -n "${CI:-}" ] && exit 1
fi
exit 0
