#!/bin/sh
# Builds .venv from constraints.txt. Called by the Makefile, from the folder of the repository.
#   PYTHON              the Python to use (default python3)
#   SOILPIPE_FREE_GB    how much free space to ask for, instead of the built-in figure
# Every refusal is one sentence that names the remedy.
set -eu

python=${PYTHON:-python3}
venv=.venv

refuse() {
    echo "soilpipe: $1" >&2
    exit 1
}

command -v "$python" >/dev/null 2>&1 ||
    refuse "there is no program '$python' here: install Python 3.11, 3.12 or 3.13 (Debian and Ubuntu: sudo apt install python3 python3-venv), or name one with: make PYTHON=/path/to/python3.12"

version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) ||
    refuse "'$python' does not run: install Python 3.11, 3.12 or 3.13, or name another with: make PYTHON=/path/to/python3.12"
case $version in
3.11 | 3.12 | 3.13) ;;
*) refuse "'$python' is Python $version, but soilpipe needs 3.11, 3.12 or 3.13: install one of them and name it with: make PYTHON=python3.12" ;;
esac

"$python" -c 'import venv, ensurepip' >/dev/null 2>&1 ||
    refuse "this Python $version comes without its venv module: install it (Debian and Ubuntu: sudo apt install python$version-venv), then run make again"

# A torch for CUDA is several times as large as one for the CPU. Which one pip takes shows in its settings.
settings="${PIP_INDEX_URL:-} ${PIP_EXTRA_INDEX_URL:-} ${PIP_FIND_LINKS:-}"
case $settings in
*cpu*) needed=4 ;;
*) needed=10 ;;
esac
needed=${SOILPIPE_FREE_GB:-$needed}
free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
[ "$free" -ge "$needed" ] ||
    refuse "only $free GB are free in $(pwd), but the install needs about $needed GB: free some space, or choose a CPU-only torch (see README.md, about 4 GB), or set SOILPIPE_FREE_GB if you know better"

echo "soilpipe: installing into $venv with Python $version (some minutes the first time)"
rm -f "$venv/.installed"
# An environment of the same Python is brought up to date; any other, and one that was left half made, is made anew.
there=$("$venv/bin/python" -c 'import pip, sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || there=none
if [ "$there" != "$version" ]; then
    "$python" -m venv --clear "$venv" ||
        refuse "'$python -m venv' failed, see above: install the venv module (Debian and Ubuntu: sudo apt install python$version-venv), then run make again"
fi

# Large wheels are unpacked beside .venv: /tmp is often a small disk in memory.
mkdir -p "$venv/tmp"
# The second name is for pip 25.3 and later, which no longer reads the first when it builds a package.
if ! TMPDIR="$(pwd)/$venv/tmp" PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 "$venv/bin/python" -m pip install --quiet -e '.[dev]' </dev/null; then
    refuse "pip could not install the packages, see above: check the network (or proxy, or pip's settings) and the free space, then run make again"
fi
rm -rf "$venv/tmp"
touch "$venv/.installed"
echo "soilpipe: installed, $(du -sh "$venv" | cut -f1)"
