# shellcheck shell=bash
# What scripts/harness and scripts/test share: see to it that this machine has what the harness needs.
#
# Sourced, not run. Every message goes to stderr. Without root nothing is installed: the one command that installs
# what is missing is printed instead. When everything is there, nothing here runs apt or takes noticeable time.

# CDPATH, if it is exported, would lead elsewhere, and have cd print where.
ROOT=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

# mkfs.* live in /usr/sbin, which Debian leaves out of an ordinary user's PATH; rustup installs to ~/.cargo/bin.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin${HOME:+:$HOME/.cargo/bin}"

say() { printf 'harness: %s\n' "$*" >&2; }

# Exit status 3: this machine lacks something.
lacks() {
    say "$*"
    exit 3
}

has() { command -v -- "$1" >/dev/null 2>&1; }

is_root() { [[ $EUID -eq 0 ]]; }

# True if files can be made in directory $1, which is created if need be.
usable_dir() { mkdir -p -- "$1" 2>/dev/null && [[ -w $1 && -x $1 ]]; }

# --- Directories ------------------------------------------------------------------------------------------------

# Sets TARGET, where cargo builds the harness: CARGO_TARGET_DIR, or target/ of this checkout, or, if that cannot be
# written to, the cache. And HARNESS_KERNELS, where the harness looks for guest kernels. All are absolute, since scripts
# work in other directories than the one that they are called in.
choose_directories() {
    [[ ${XDG_CACHE_HOME:-/} = /* ]] || export XDG_CACHE_HOME=$PWD/$XDG_CACHE_HOME
    local cache=${XDG_CACHE_HOME:-}
    if [[ -z $cache && -n ${HOME:-} ]]; then
        cache=$HOME/.cache
    fi
    if [[ -n $cache ]] && ! usable_dir "$cache/crash-harness"; then
        cache=
    fi
    # CARGO_TARGET_DIR holds for the builds of workloads too, and these may be another project's: it is not set where
    # it is not needed.
    TARGET=$ROOT/target
    if [[ -n ${CARGO_TARGET_DIR:-} ]]; then
        TARGET=$CARGO_TARGET_DIR
        [[ $TARGET = /* ]] || TARGET=$PWD/$TARGET
        export CARGO_TARGET_DIR=$TARGET
    elif ! usable_dir "$TARGET" && [[ -n $cache ]]; then
        TARGET=$cache/crash-harness/target
        export CARGO_TARGET_DIR=$TARGET
    fi
    usable_dir "$TARGET" || lacks "cannot write to $TARGET, where the build goes:" \
        "set CARGO_TARGET_DIR to a directory that you can write to"
    if [[ -z $cache ]]; then
        # No home directory to write to: keep everything with the build, cargo's downloads too.
        cache=$TARGET/cache
        usable_dir "$cache/crash-harness"
        export XDG_CACHE_HOME=$cache
        export CARGO_HOME=${CARGO_HOME:-$cache/cargo}
    fi
    export HARNESS_KERNELS=${HARNESS_KERNELS:-$cache/crash-harness/kernels}
    [[ $HARNESS_KERNELS = /* ]] || HARNESS_KERNELS=$PWD/$HARNESS_KERNELS
}

# --- Packages ---------------------------------------------------------------------------------------------------

# What is missing, as Debian package names: `needed` for every run, `wanted` for one kind of machine or workload.
find_missing() {
    needed=()
    wanted=()
    has mkfs.ext4 || needed+=(e2fsprogs)
    has mkfs.xfs || needed+=(xfsprogs)
    has mkfs.btrfs || needed+=(btrfs-progs)
    has cc || needed+=(gcc)
    # The guest agent is linked statically.
    [[ -e /usr/lib/x86_64-linux-gnu/libc.a || -e /usr/lib64/libc.a || -e /usr/lib/libc.a ]] || needed+=(libc6-dev)
    # Either kind of machine will do; with neither, the lighter one is the one that is needed.
    if has qemu-system-x86_64; then
        has linux.uml || wanted+=(user-mode-linux)
    else
        has linux.uml || needed+=(user-mode-linux)
        wanted+=(qemu-system-x86)
    fi
    has mkfs.f2fs || wanted+=(f2fs-tools)
    has python3 || wanted+=(python3)
}

apt() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120 "$@" </dev/null >&2
}

# Whether apt could install each of the packages $@, going by its lists.
apt_knows() {
    local package
    for package in "$@"; do
        [[ -n $(apt-cache madison "$package" 2>/dev/null) ]] || return 1
    done
}

# Installs the packages $@ as root, as far as they can be had.
apt_install() {
    local package known=() updated=no
    say "installing with apt-get: $*"
    if ! apt_knows "$@"; then
        apt update || say "apt-get update failed: going on with the package lists that are here"
        updated=yes
    fi
    for package in "$@"; do
        if apt_knows "$package"; then
            known+=("$package")
        else
            say "apt-get knows no package $package"
        fi
    done
    [[ ${#known[@]} -gt 0 ]] || return 0
    apt install -y --no-install-recommends "${known[@]}" && return 0
    # Old lists name versions that the archive has dropped since.
    [[ $updated = no ]] && apt update && apt install -y --no-install-recommends "${known[@]}" && return 0
    say "apt-get could not install them"
}

install_missing() {
    find_missing
    local missing=("${needed[@]}" "${wanted[@]}")
    [[ ${#missing[@]} -gt 0 ]] || return 0

    if is_root && has apt-get; then
        apt_install "${missing[@]}"
        hash -r
        find_missing
        [[ ${#needed[@]} -eq 0 ]] || lacks "still missing: ${needed[*]}"
        [[ ${#wanted[@]} -eq 0 ]] || say "going on without ${wanted[*]}"
        return 0
    fi

    local command="apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
    has apt-get || command="(no apt-get here: install what goes by these names on Debian: ${missing[*]})"
    if [[ ${#needed[@]} -gt 0 ]]; then
        say "missing: ${missing[*]}. Run this as root, then try again:"
        printf '%s\n' "$command" >&2
        has cargo || say "$(no_cargo)"
        exit 3
    fi
    say "going on without ${missing[*]}. To install, run as root: $command"
}

no_cargo() {
    printf '%s' "cargo is missing: install Rust $(rust_version) or newer with rustup (see rustup.rs), no root needed;" \
        " Debian's own package is too old"
}

rust_version() { sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml"; }

# --- The guest kernel for QEMU ----------------------------------------------------------------------------------

# True if some directory of $HARNESS_KERNELS holds a kernel that can be read.
have_kernel() {
    local image
    for image in "$HARNESS_KERNELS"/*/boot/vmlinuz-*; do
        [[ -r $image ]] && return 0
    done
    return 1
}

# Unpacks Debian's cloud kernel, without installing it, to $HARNESS_KERNELS/PACKAGE_VERSION/{boot,lib/modules}.
# Without one QEMU cannot be used; that is fatal only if there is no User Mode Linux either.
fetch_kernel() {
    has qemu-system-x86_64 || return 0
    have_kernel && return 0
    local failed=$HARNESS_KERNELS/failed
    # Offline, do not wait for the network in every run.
    if [[ -n $(find "$failed" -mmin -60 2>/dev/null) ]]; then
        say "going on without a guest kernel for QEMU: fetching it failed within the last hour (rm $failed to try again)"
    elif download_kernel || link_installed_kernel; then
        rm -f -- "$failed"
        return 0
    else
        usable_dir "$HARNESS_KERNELS" && : >"$failed"
        say "there is no guest kernel for QEMU (its package could not be fetched, and /boot holds none that can be read)"
    fi
    has linux.uml || lacks "neither User Mode Linux nor a guest kernel for QEMU: as root, run" \
        "'apt-get update', or install user-mode-linux"
}

download_kernel() {
    has apt-get && has dpkg-deb || return 1
    usable_dir "$HARNESS_KERNELS" || return 1
    local package
    package=$(kernel_package)
    if [[ -z $package ]] && is_root; then
        apt update || return 1
        package=$(kernel_package)
    fi
    [[ -n $package ]] || return 1
    say "fetching the guest kernel for QEMU, $package, to $HARNESS_KERNELS (unpacked, not installed)"
    # In a subshell: the trap is its own, and nothing half done is left whatever happens.
    (
        temporary=$(mktemp -d "$HARNESS_KERNELS/.new.XXXXXX") || exit 1
        trap 'rm -rf -- "$temporary"' EXIT
        trap 'exit 1' HUP INT TERM
        cd -- "$temporary" || exit 1
        # apt's own sandbox user cannot write here; the archive is checked against the signed lists either way.
        apt download -o APT::Sandbox::User=root "$package" || exit 1
        archive=$(echo ./*.deb)
        dpkg-deb -x "$archive" unpacked || exit 1
        version=$(dpkg-deb -f "$archive" Version) || exit 1
        chmod 755 unpacked
        # Another run may have been faster: then its directory stays.
        mv -T -- unpacked "$HARNESS_KERNELS/${package}_$version" 2>/dev/null || have_kernel
    )
}

# The kernel that Debian's linux-image-cloud-amd64 stands for now, or else the standard one.
kernel_package() {
    local meta
    for meta in linux-image-cloud-amd64 linux-image-amd64; do
        apt-cache depends "$meta" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1 | grep . &&
            return 0
    done
    return 0
}

# Makes an installed kernel look like an unpacked one.
link_installed_kernel() {
    local image version
    for image in /boot/vmlinuz-*; do
        version=${image#/boot/vmlinuz-}
        [[ -r $image && -d /lib/modules/$version ]] || continue
        mkdir -p -- "$HARNESS_KERNELS/installed_$version"/{boot,lib/modules} || return 1
        ln -sfn -- "$image" "$HARNESS_KERNELS/installed_$version/boot/vmlinuz-$version"
        ln -sfn -- "/lib/modules/$version" "$HARNESS_KERNELS/installed_$version/lib/modules/$version"
        say "QEMU's guest will run the installed kernel $version"
        return 0
    done
    return 1
}

# --- All of it --------------------------------------------------------------------------------------------------

set_up() {
    choose_directories
    # Before root downloads anything that would then be of no use. Others are told all that is missing at once.
    if is_root && ! has cargo; then
        lacks "$(no_cargo)"
    fi
    install_missing
    has cargo || lacks "$(no_cargo)"
    fetch_kernel
}
