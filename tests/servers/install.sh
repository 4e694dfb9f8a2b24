#!/usr/bin/env bash
# Installs what Debian or Ubuntu packages a target needs, where it may (root and apt-get); elsewhere says what to install.
#
#   install.sh venv PYTHON    PYTHON is 3.11 or newer and can make virtual environments; else exit 1
#   install.sh servers        RabbitMQ and PostgreSQL programs for the tests, and the library that sets clocks for them;
#                             always exit 0, the tests judge what is missing
#
# It starts no system service: the tests run private servers of their own, on free ports.
set -euo pipefail
export PATH="${PATH:-/usr/local/bin:/usr/bin:/bin}:/usr/sbin:/sbin"

# Keeps the packages from starting their services for the duration; a policy that is there already stays and holds.
forbid_services() {
  local policy=/usr/sbin/policy-rc.d
  [[ -e $policy ]] && return
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
}

# install PURPOSE PACKAGE...: non-zero where it may not or cannot, after saying what to do.
install() {
  local purpose=$1
  shift
  if [[ $EUID != 0 ]] || ! command -v apt-get >/dev/null; then
    echo "Missing for $purpose: $*. Install them, on Debian or Ubuntu: sudo apt-get install $*" >&2
    return 1
  fi
  echo "Installing with apt-get for $purpose: $*"
  forbid_services
  export DEBIAN_FRONTEND=noninteractive
  if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"; } >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    echo "apt-get could not install $*; install them by hand." >&2
    return 1
  fi
}

venv() {
  local python=$1
  if ! command -v "$python" >/dev/null; then
    install "the virtual environment" python3 python3-venv
  fi
  if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "Headway needs Python 3.11 or newer and $python is $("$python" -V 2>&1). Name another: make PYTHON=python3.12 ..." >&2
    return 1
  fi
  # Debian's python3 has venv but no ensurepip until python3-venv is installed.
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    install "the virtual environment" python3-venv
  fi
}

servers() {
  local missing=()
  compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || missing+=(libfaketime)
  # Given servers, or a Docker engine that brings its own, need no programs here.
  case ${HEADWAY_TEST_SERVERS:-auto} in
    env | docker) ;;
    *)
      [[ -n ${HEADWAY_TEST_BROKER_URL:-} || -x /usr/lib/rabbitmq/bin/rabbitmq-server ]] || missing+=(rabbitmq-server)
      [[ -n ${HEADWAY_TEST_DATABASE_URL:-} ]] || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
      ;;
  esac
  [[ ${#missing[@]} == 0 ]] || install "the tests" "${missing[@]}" || true
}

log=$(mktemp)
case ${1:-} in
  venv) venv "${2:?which python}" ;;
  servers) servers ;;
  *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
rm -f "$log"
