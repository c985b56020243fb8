#!/bin/sh
# test-peers.sh DIRECTORY PACKAGE...
# Installs the Debian packages that the tests talk to, and unpacks other mail servers, without installing them, into
# DIRECTORY/postfix, DIRECTORY/exim, DIRECTORY/sendmail, DIRECTORY/slapd and DIRECTORY/unbound, with the libraries that they need installed. Run by "make peers", as root.
# The packages in $HOST_PACKAGES, with what they depend on, are downloaded into DIRECTORY/debs for a host of the tests' own.
# What is there already is left alone.
set -eu
dir=$1
shift
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 # RUNLEVEL keeps services from being started
updated=
update() {
	[ -n "$updated" ] || apt-get update -qq
	updated=yes
}
install() {
	missing=
	for want; do
		dpkg -s "$want" >/dev/null 2>&1 || missing="$missing $want"
	done
	[ -n "$missing" ] || return 0
	update
	echo "installing for the tests:$missing"
	# shellcheck disable=SC2086
	apt-get install -y -qq --no-install-recommends $missing >/dev/null
}
libraries() { # of a package, by name
	apt-cache depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "$1" | awk '$1 == "Depends:" && $2 ~ /^lib/ { print $2 }'
}
unpack() { # NAME PACKAGE...
	name=$1
	shift
	[ ! -d "$dir/$name" ] || return 0
	update
	echo "unpacking for the tests: $*"
	rm -rf "$dir/.$name"
	mkdir -p "$dir/.$name"
	for p; do
		# shellcheck disable=SC2046
		install $(libraries "$p")
		(cd "$dir/.$name" && apt-get download -qq "$p" >/dev/null 2>&1 && dpkg-deb -x "${p}"_*.deb . && rm "${p}"_*.deb)
	done
	mv "$dir/.$name" "$dir/$name"
}
install "$@"
unpack postfix postfix
unpack exim exim4-daemon-heavy exim4-base
unpack sendmail sendmail-bin sendmail-base sendmail-cf
unpack slapd slapd
unpack unbound unbound
if [ -n "${HOST_PACKAGES-}" ] && [ ! -d "$dir/debs" ]; then
	update
	echo "downloading for the tests: $HOST_PACKAGES"
	rm -rf "$dir/.debs"
	mkdir -p "$dir/.debs/partial"
	# shellcheck disable=SC2086
	apt-get install -y -qq --download-only --reinstall --no-install-recommends -o "Dir::Cache::archives=$dir/.debs" $HOST_PACKAGES >/dev/null
	rm -rf "$dir/.debs/partial" "$dir/.debs/lock"
	mv "$dir/.debs" "$dir/debs"
fi
