#!/bin/sh
# make_venv.sh PYTHON VENV ORIGIN
#
# Leaves a virtual environment with pip in VENV. One that works is kept, unless PYTHON was asked for by name (ORIGIN is
# make's word for where the variable comes from) and is another Python. VENV/.python changes only with the environment.
set -eu
python=$1 venv=$2 origin=$3
minimum='3, 11'

describe='import sys; print("%d.%d.%d %s" % (sys.version_info[:3] + (sys.base_prefix,)))'

works() { "$1" -c "import sys; sys.exit(sys.version_info < ($minimum))" >/dev/null 2>&1; }

suggest() {
    for name in python3.14 python3.13 python3.12 python3.11; do
        if works "$name"; then
            echo "Found on this machine: make ... PYTHON=$name" >&2
            return
        fi
    done
    echo "Install a newer Python and name it: make ... PYTHON=/path/to/python3.13" >&2
}

# Explicitly asked for, on make's command line or in the environment.
case $origin in command*|environment*) asked=yes ;; *) asked=no ;; esac

# Other tools make environments without pip.
has_pip() { "$1" -m pip --version >/dev/null 2>&1 || "$1" -m ensurepip >/dev/null 2>&1; }

if [ -x "$venv/bin/python" ] && works "$venv/bin/python" && has_pip "$venv/bin/python"; then
    made=$("$venv/bin/python" -c "$describe")
    if [ $asked = no ] || [ "$("$python" -c "$describe" 2>/dev/null)" = "$made" ]; then
        [ "$(cat "$venv/.python" 2>/dev/null)" = "$made" ] || echo "$made" >"$venv/.python"
        exit 0
    fi
fi

if ! command -v "$python" >/dev/null 2>&1; then
    echo "There is no $python here; Python 3.11 or newer is needed." >&2
    suggest
    exit 1
fi
if ! works "$python"; then
    version=$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) || version="which does not start"
    echo "$python is Python $version; Python 3.11 or newer is needed." >&2
    suggest
    exit 1
fi

echo "Creating $venv with $("$python" --version) ..."
if ! "$python" -m venv --clear "$venv"; then
    # Debian and Ubuntu leave a half-made folder behind when python3-venv is missing.
    rm -rf "$venv"
    echo "$python could not create a virtual environment. On Debian and Ubuntu: apt install python3-venv" >&2
    exit 1
fi
"$venv/bin/python" -c "$describe" >"$venv/.python"
