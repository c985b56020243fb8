#!/bin/sh
# deb.sh OUTPUT.deb
# Makes a Debian package of what "make install" installs, which takes the place of the host's mail-transport-agent.
set -eu
out=$1
: "${BIN=bin}"
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022
chmod 755 "$work"

DESTDIR=$work PREFIX=/usr BIN=$BIN "$here/install.sh" install
gzip -9n "$work"/usr/share/man/man*/*
# Debian 12 still has /lib beside /usr/lib for units; both name one directory.
install -d "$work/DEBIAN"
cat >"$work/DEBIAN/control" <<END
Package: waybill
Version: $("$BIN/waybill" version | cut -d' ' -f2)
Architecture: $(dpkg --print-architecture)
Maintainer: Waybill <postmaster@localhost>
Section: mail
Priority: optional
Depends: passwd
Provides: mail-transport-agent
Conflicts: mail-transport-agent, rmail, vacation
Replaces: mail-transport-agent, rmail, vacation
Description: mail transfer agent whose routing can be read
 Waybill takes the place of sendmail: the same commands, a queue that loses
 nothing, and routing in rules that can be checked, tested and asked "why?".
 An old sendmail.cf works unchanged.
END
cat >"$work/DEBIAN/postinst" <<'END'
#!/bin/sh
set -e
if [ "$1" = configure ]; then
	/usr/share/waybill/site.sh /usr
	# Who reads the mail of the roles that every host has (RFC 2142, RFC 5321 4.5.1). An existing file stays as it is.
	if [ ! -e /etc/aliases ]; then
		printf '%s\n' '# Other names for local users: see aliases(5). Changes take effect at once.' 'mailer-daemon: postmaster' 'postmaster: root' 'abuse: postmaster' >/etc/aliases
		chmod 644 /etc/aliases
	fi
	if [ -d /run/systemd/system ]; then
		systemctl daemon-reload
		systemctl enable --now waybill.socket waybill.service
		systemctl try-restart waybill.service
	fi
fi
END
cat >"$work/DEBIAN/prerm" <<'END'
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
	systemctl disable --now waybill.service waybill.socket
fi
END
cat >"$work/DEBIAN/postrm" <<'END'
#!/bin/sh
# Mail may still wait in the spool: it stays, as do the user and the configuration. "purge" removes an empty spool only.
set -e
if [ "$1" = purge ] && [ -d /var/spool/waybill ]; then
	find /var/spool/waybill -depth -type d -empty -delete
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
END
chmod 755 "$work/DEBIAN/postinst" "$work/DEBIAN/prerm" "$work/DEBIAN/postrm"
dpkg-deb --root-owner-group --build "$work" "$out" >/dev/null
echo "$out"
