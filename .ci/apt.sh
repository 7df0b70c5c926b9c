# need WHY PACKAGE...: install Debian packages as root, else say what to do. To be sourced.
need() {
    why=$1
    shift
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "setup: $why; installing $*"
        apt-get update -qq
        # The run level keeps the packages' servers from being started.
        RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
    else
        echo "setup: $why" >&2
        echo "setup: ask an administrator to install: $*" >&2
        exit 1
    fi
}
